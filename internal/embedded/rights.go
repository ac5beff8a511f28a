package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// dropTo returns the user a server runs as: nobody special unless we are root.
func dropTo(names ...string) (*credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil // our own user
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &credential{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("none of the users %v exists", names)
}

// own makes dir, gives it and what is in it to the server's user, and closes it to others.
func own(dir string, as *credential) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	if as == nil || ownedBy(dir, as.uid) {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		return os.Lchown(path, int(as.uid), int(as.gid))
	})
	if err != nil {
		return err
	}
	// The directory itself last: it is the sign that everything in it has been done.
	return os.Lchown(dir, int(as.uid), int(as.gid))
}

func ownedBy(path string, uid uint32) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uid
}

// canEnter proves that the server's user reaches dir.
func canEnter(dir string, as *credential) error {
	if as == nil {
		return nil
	}
	cmd := exec.Command("/bin/sh", "-c", `test -x "$0"`, dir)
	cmd.Dir, cmd.SysProcAttr = "/", as.attr()
	if err := cmd.Run(); err != nil {
		return errTraverse.With("user", as.name, "dir", dir).Because(err)
	}
	return nil
}
