package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/embedded"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/redis"
)

func doctorCommand() command {
	return command{name: "doctor", about: "say what is missing on this machine and how to get it", run: doctor}
}

// finding is what one check found. Status is ok, warn (works, but read this) or fail.
type finding struct {
	Check  string     `json:"check"`
	Status string     `json:"status"`
	Text   fault.Text `json:"text"`
	Fix    fault.Text `json:"fix,omitzero"`
}

var errUnhealthy = fault.New(fault.Precondition, "doctor.unhealthy", "有 {n} 项检查未通过", "{n} checks failed").
	WithHint("请按上面的提示处理后再次运行 lianke doctor", "do what is said above, then run `lianke doctor` again")

func doctor(ctx context.Context, c console, args []string) error {
	flagSet := newFlags(c, doctorCommand())
	flags := commonFlags(flagSet)
	if err := parseFlags(flagSet, args); err != nil {
		return err
	}
	cfg, err := flags.config()
	if err != nil {
		return err
	}
	d := doctorRun{cfg: cfg, app: newApp(c, cfg)}
	d.checkAll(ctx)

	failed := 0
	for _, f := range d.findings {
		if f.Status == "fail" {
			failed++
		}
		if flags.json {
			continue
		}
		fmt.Fprintf(c.out, "[%-4s] %s\n       %s\n", f.Status, f.Text.ZH, f.Text.EN)
		if f.Fix != (fault.Text{}) {
			fmt.Fprintf(c.out, "       → %s\n       → %s\n", f.Fix.ZH, f.Fix.EN)
		}
	}
	if flags.json {
		if err := json.NewEncoder(c.out).Encode(map[string]any{"ok": failed == 0, "checks": d.findings}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return errUnhealthy.With("n", failed)
	}
	return nil
}

// doctorRun looks and changes nothing: an embedded stack that does not run is not started.
type doctorRun struct {
	cfg      config.Config
	app      *app
	findings []finding
}

func (d *doctorRun) checkAll(ctx context.Context) {
	d.checkDataDir()
	d.checkDisk()
	d.checkMasterKey()
	d.checkPostgres(ctx)
	d.checkRedis(ctx)
	d.checkSearch(ctx)
	d.checkPort(ctx, "addr", d.cfg.Addr, "--addr")
	if d.cfg.AdminAddr != "off" {
		d.checkPort(ctx, "admin_addr", d.cfg.AdminAddr, "--admin-addr")
	}
}

func (d *doctorRun) say(check, status, zh, en string, args ...any) *finding {
	d.findings = append(d.findings, finding{Check: check, Status: status, Text: fault.Text{ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)}})
	return &d.findings[len(d.findings)-1]
}

// failWith says a fault in its own words.
func (d *doctorRun) failWith(check string, err error) {
	f := fault.From(err)
	if f.Kind == fault.Internal {
		// On the operator's own console the cause may be shown.
		f = fault.New(fault.Internal, f.Code, "检查失败:"+err.Error(), "the check failed: "+err.Error())
	}
	d.findings = append(d.findings, finding{Check: check, Status: "fail", Text: f.Text, Fix: f.Hint})
}

func (d *doctorRun) checkDataDir() {
	dir := d.cfg.DataDir
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		above := filepath.Dir(dir)
		for !pathExists(above) && above != "/" {
			above = filepath.Dir(above)
		}
		if !writable(above) {
			d.say("data_dir", "fail", "数据目录 %s 不存在,且无权创建", "the data directory %s does not exist and cannot be made", dir).Fix =
				fault.Text{ZH: "请用 --data-dir 指定可写的目录", EN: "name a directory you can write with --data-dir"}
			return
		}
		d.say("data_dir", "ok", "数据目录 %s 将在首次启动时创建", "the data directory %s will be made at first start", dir)
		return
	}
	if err != nil || !info.IsDir() || !writable(dir) {
		d.say("data_dir", "fail", "数据目录 %s 不可写", "the data directory %s cannot be written", dir).Fix =
			fault.Text{ZH: "请以创建它的用户运行,或用 --data-dir 指定其他目录", EN: "run as the user who made it, or name another one with --data-dir"}
		return
	}
	d.say("data_dir", "ok", "数据目录 %s", "data directory %s", dir)
}

func pathExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func writable(dir string) bool { return syscall.Access(dir, 2|1) == nil } // W_OK, X_OK

func (d *doctorRun) checkDisk() {
	dir := d.cfg.DataDir
	for !pathExists(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		d.failWith("disk", err)
		return
	}
	free := float64(st.Bavail) * float64(st.Bsize) / (1 << 30)
	status := "ok"
	switch {
	case free < 1:
		status = "fail"
	case free < 10:
		status = "warn"
	}
	f := d.say("disk", status, "数据目录所在磁盘剩余 %.1f GB", "%.1f GB free on the disk of the data directory", free)
	if status != "ok" {
		f.Fix = fault.Text{ZH: "请清理磁盘,或用 --data-dir 指定更大的磁盘", EN: "make room, or name a bigger disk with --data-dir"}
	}
}

func (d *doctorRun) checkMasterKey() {
	if d.cfg.MasterKey == "" && !pathExists(d.cfg.MasterKeyFile) {
		if d.cfg.MasterKeyFile == filepath.Join(d.cfg.DataDir, "master.key") {
			d.say("master_key", "ok", "主密钥将在首次启动时生成", "the master key will be made at first start")
			return
		}
		d.say("master_key", "fail", "主密钥文件 %s 不存在", "the master key file %s does not exist", d.cfg.MasterKeyFile).Fix =
			fault.Text{ZH: "请放回该文件,或从备份恢复", EN: "put it back, or restore a backup"}
		return
	}
	if _, err := d.cfg.LoadMasterKey(); err != nil {
		d.failWith("master_key", err)
		return
	}
	d.say("master_key", "ok", "主密钥可用", "the master key is usable")
}

func (d *doctorRun) checkPostgres(ctx context.Context) {
	if d.cfg.DatabaseURL == "" {
		bin, err := embedded.PostgresFor(filepath.Join(d.cfg.DataDir, "postgres"), embedded.FindPostgres())
		if err != nil {
			d.failWith("postgres", err)
			return
		}
		st, err := embedded.Inspect(d.cfg.DataDir)
		if err != nil {
			d.failWith("postgres", err)
			return
		}
		if st.PostgresPID == 0 {
			d.say("postgres", "ok", "PostgreSQL %d 已安装(%s),内嵌数据库未运行,使用时自动启动",
				"PostgreSQL %d is installed (%s); the embedded database is not running and starts when needed", bin.Major, bin.Dir)
			return
		}
	}
	// Looking must not be what stops an orphaned stack.
	if err := d.app.openStores(ctx, embedded.Options{Linger: true}); err != nil {
		d.failWith("postgres", errUnreachable(err))
		return
	}
	defer func() {
		if err := d.app.Close(); err != nil {
			d.failWith("postgres", err)
		}
	}()
	var major int
	if err := d.app.db.QueryRow(ctx, `SELECT current_setting('server_version_num')::integer / 10000`).Scan(&major); err != nil {
		d.failWith("postgres", err)
		return
	}
	if major < embedded.MinPostgres {
		d.say("postgres", "fail", "PostgreSQL %d 过旧,至少需要 %d", "PostgreSQL %d is too old, %d or newer is needed", major, embedded.MinPostgres).Fix =
			fault.Text{ZH: "请升级数据库服务器", EN: "upgrade the database server"}
		return
	}
	d.say("postgres", "ok", "PostgreSQL %d 正在运行", "PostgreSQL %d answers", major)
	pending, err := pg.Pending(ctx, d.app.db)
	switch {
	case err != nil:
		d.failWith("migrations", err)
	case pending:
		d.say("migrations", "warn", "数据库结构不是本版本", "the schema is not of this version").Fix =
			fault.Text{ZH: "将在下次启动时自动升级;也可执行 lianke migrate", EN: "the next start brings it up to date; or run: lianke migrate"}
	default:
		d.say("migrations", "ok", "数据库结构为本版本", "the schema is of this version")
	}
}

// errUnreachable gives a plain face to a connection that fails.
func errUnreachable(err error) error {
	if fault.KindOf(err) != fault.Internal {
		return err
	}
	return fault.New(fault.Unavailable, "doctor.database", "无法连接数据库:"+err.Error(), "the database cannot be reached: "+err.Error()).
		WithHint("请检查 LIANKE_DATABASE_URL 和服务器", "check LIANKE_DATABASE_URL and the server")
}

func (d *doctorRun) checkRedis(ctx context.Context) {
	switch d.cfg.RedisURL {
	case redis.Off:
		d.say("redis", "warn", "Redis 已关闭:功能完整,速度较慢", "Redis is switched off: everything works, slower")
		return
	case "":
		if path := embedded.FindRedis(); path != "" {
			d.say("redis", "ok", "redis-server 已安装(%s)", "redis-server is installed (%s)", path)
		} else {
			d.say("redis", "warn", "没有安装 redis-server:功能完整,速度较慢", "redis-server is not installed: everything works, slower").Fix =
				fault.Text{ZH: "apt-get install redis-server", EN: "apt-get install redis-server"}
		}
		return
	}
	client, err := redis.Open(d.cfg.RedisURL, d.app.log)
	if err == nil {
		_, err = client.Ping(ctx)
		err = errors.Join(err, client.Close())
	}
	if err != nil {
		d.say("redis", "warn", "Redis 无法连接:功能完整,速度较慢(%v)", "Redis cannot be reached: everything works, slower (%v)", err).Fix =
			fault.Text{ZH: "请检查 LIANKE_REDIS_URL", EN: "check LIANKE_REDIS_URL"}
		return
	}
	d.say("redis", "ok", "Redis 正在运行", "Redis answers")
}

func (d *doctorRun) checkSearch(ctx context.Context) {
	if d.cfg.ElasticsearchURL == "" {
		d.say("search", "ok", "搜索使用 PostgreSQL", "search runs on PostgreSQL")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(d.cfg.ElasticsearchURL, "/")+"/_cluster/health", nil)
	if err != nil {
		d.failWith("search", err)
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			d.say("search", "ok", "Elasticsearch 正在运行", "Elasticsearch answers")
			return
		}
		err = errors.New("HTTP " + strconv.Itoa(res.StatusCode))
	}
	d.say("search", "fail", "Elasticsearch 无法使用(%v)", "Elasticsearch cannot be used (%v)", err).Fix =
		fault.Text{ZH: "请检查 LIANKE_ELASTICSEARCH_URL;去掉它则使用 PostgreSQL 搜索", EN: "check LIANKE_ELASTICSEARCH_URL; without it search runs on PostgreSQL"}
}

func (d *doctorRun) checkPort(ctx context.Context, check, addr, flagName string) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err == nil {
		ln.Close()
		d.say(check, "ok", "%s 可用", "%s is free", addr)
		return
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		d.say(check, "warn", "%s 已被占用(可能是正在运行的 lianke serve)", "%s is taken (perhaps by a lianke serve that runs)", addr).Fix =
			fault.Text{ZH: "需要时请用 " + flagName + " 指定其他端口", EN: "if it is another program, choose another port with " + flagName}
		return
	}
	d.say(check, "fail", "无法监听 %s(%v)", "cannot listen on %s (%v)", addr, err).Fix =
		fault.Text{ZH: "请用 " + flagName + " 指定其他地址", EN: "choose another address with " + flagName}
}
