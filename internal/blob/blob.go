// Package blob keeps files (imports, exports, pictures, reject lists) outside the database: in a folder, or in a bucket
// of an S3-compatible store. Both pass one conformance suite.
//
// A key is a relative path of letters, digits and "._-/", chosen by the caller, at most 512 bytes. What is under a key
// never changes: Put of other content under a key that exists is ErrExists, so a row that names a key names one content
// for ever. Files are written aside and appear whole or not at all.
package blob

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/lianke/lianke/internal/fault"
)

// Store keeps files.
type Store interface {
	// Put stores r under key; size is the number of bytes r will give. ErrExists when the key is taken, ErrKey when it
	// is not one, ErrSize when r gives more or less.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Open reads the file, or returns ErrNotFound.
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	// Size returns the number of bytes, or ErrNotFound.
	Size(ctx context.Context, key string) (int64, error)
	// Delete removes the file; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List returns the keys that begin with prefix, in order, after the given one; at most limit.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Errors of a store.
var (
	ErrNotFound = fault.New(fault.NotFound, "blob.not_found", "文件不存在", "there is no such file").
			WithHint("文件可能已过期或被删除,请重新生成", "it may have expired or been deleted; make it again")
	ErrExists = fault.New(fault.Conflict, "blob.exists", "文件已存在", "the file exists").
			WithHint("请换一个文件名:已存入的内容不会被覆盖", "use another key: what is stored is never replaced")
	ErrKey = fault.New(fault.Invalid, "blob.key", "文件名无效", "this is not a valid file key").
		WithHint("请使用字母、数字与 ._-/,最长 512 字节,不以 / 或 . 开头", "use letters, digits and ._-/, at most 512 bytes, no part beginning with a dot")
	ErrSize = errors.New("blob: the file is not as long as announced")
)

var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

func checkKey(key string) error {
	if len(key) > 512 || !keyPattern.MatchString(key) {
		return ErrKey
	}
	return nil
}

// exactly reads the announced number of bytes and fails on fewer or more.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		var one [1]byte
		for {
			n, err := e.r.Read(one[:])
			if n > 0 {
				return 0, ErrSize
			}
			if err != nil {
				return 0, err
			}
		}
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		err = ErrSize
	}
	return n, err
}

// page cuts a sorted list of keys.
func page(keys []string, prefix, after string, limit int) []string {
	var out []string
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) && k > after && len(out) < limit {
			out = append(out, k)
		}
	}
	return out
}
