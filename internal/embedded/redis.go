package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// FindRedis returns the installed redis-server, or "".
func FindRedis() string {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return ""
	}
	return path
}

// ensureRedis leaves a redis-server of this stack that answers and returns its URL, or "" where none is installed. The
// gate is held.
func (s *Stack) ensureRedis(ctx context.Context) (string, error) {
	p := s.place
	for {
		pids, err := p.redisPIDs()
		if err != nil {
			return "", err
		}
		var ended <-chan struct{} // stays nil when we join
		if len(pids) == 0 {
			binary := FindRedis()
			if binary == "" {
				s.opts.Log.WarnContext(ctx, "redis-server is not installed; going on without it, slower (apt-get install redis-server)")
				return "", nil
			}
			if ended, err = s.startRedis(ctx, binary); err != nil {
				return "", err
			}
		}
		err = p.awaitRedis(ctx, ended)
		if errors.Is(err, errEnded) && ended == nil {
			continue // it was dying when we joined
		}
		if errors.Is(err, errDeaf) {
			// Its socket is gone, because the directory was removed under it. It holds nothing worth keeping.
			if err := p.stopRedis(ctx); err != nil {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", err
		}
		return "unix://" + p.redisSocket() + "?db=0", nil
	}
}

// errDeaf says that a server we joined runs and does not answer.
var errDeaf = errors.New("the server does not answer")

func (p place) awaitRedis(ctx context.Context, ended <-chan struct{}) error {
	began := time.Now()
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		if p.pingRedis(ctx) == nil {
			return true, nil
		}
		select {
		case <-ended:
			return false, fmt.Errorf("%w:\n%s", errEnded, tail(p.redisLog(), 5))
		default:
		}
		if ended != nil {
			return false, nil
		}
		pids, err := p.redisPIDs()
		switch {
		case err != nil:
		case len(pids) == 0:
			err = errEnded
		case time.Since(began) > 10*time.Second:
			err = errDeaf
		}
		return false, err
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for embedded Redis: %w", ctx.Err())
		}
		return errStart.With("server", "redis-server", "log", p.redisLog()).Because(err)
	}
	return nil
}

// redisConf keeps nothing on disk: Redis holds hints, and a stale hint after a restart is worse than none.
const redisConf = `# Written by lianke at each start.
port 0
unixsocket "%s"
unixsocketperm 700
dir "%s"
daemonize no
supervised no
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
loglevel notice
`

func (s *Stack) startRedis(ctx context.Context, binary string) (<-chan struct{}, error) {
	p := s.place
	as, err := dropTo("redis", "nobody")
	if err != nil {
		return nil, err
	}
	if err := canEnter(p.dir, as); err != nil {
		return nil, err
	}
	for _, dir := range []string{p.redis, p.redisSockets()} {
		if err := own(dir, as); err != nil {
			return nil, p.denied(err)
		}
	}
	conf := filepath.Join(p.redis, "redis.conf")
	if err := writeAs(conf, fmt.Sprintf(redisConf, p.redisSocket(), p.redis), as); err != nil {
		return nil, fmt.Errorf("write redis.conf: %w", err)
	}
	// A socket file without a server is refused by bind.
	if err := os.RemoveAll(p.redisSocket()); err != nil {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	// The socket is named on the command line too: redis shows it in its title, by which we find it again.
	cmd := exec.Command(binary, conf, "--unixsocket", p.redisSocket())
	cmd.Dir = "/"
	s.opts.Log.InfoContext(ctx, "starting embedded Redis", "dir", p.redis)
	ended, err := spawn(cmd, as, p.redisLog())
	if err != nil {
		return nil, errStart.With("server", "redis-server", "log", p.redisLog()).Because(err)
	}
	return ended, nil
}

func (p place) redisPIDs() ([]int, error) { return procs("redis-server", p.redisSocket()) }

func (p place) pingRedis(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", p.redisSocket())
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+PONG") {
		return fmt.Errorf("redis answers %q", strings.TrimSpace(line))
	}
	return nil
}

func (p place) stopRedis(ctx context.Context) error {
	err := stop(ctx, p.redisPIDs, []stopStep{{syscall.SIGTERM, 10 * time.Second}, {syscall.SIGKILL, 5 * time.Second}})
	if err != nil {
		return fmt.Errorf("stop embedded Redis: %w", err)
	}
	return nil
}
