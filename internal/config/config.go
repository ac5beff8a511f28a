package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/lianke/lianke/internal/fault"
)

// Prefix begins the name of every variable.
const Prefix = "LIANKE_"

// Config is everything an installation may set. The tag `secret` says how a value is masked when shown: "all", or "url"
// for addresses that may hold a password.
type Config struct {
	DataDir          string `env:"DATA_DIR" doc:"Directory of the embedded stack, the master key and stored files. Default: /var/lib/lianke as root, else $XDG_DATA_HOME/lianke."`
	DatabaseURL      string `env:"DATABASE_URL" secret:"url" doc:"PostgreSQL 15 or newer. Empty: a private PostgreSQL under the data directory."`
	DatabaseConns    int    `env:"DATABASE_CONNS" envDefault:"0" doc:"Most connections one process opens; 0 chooses by cores."`
	RedisURL         string `env:"REDIS_URL" secret:"url" doc:"Redis 6.2 or newer (redis://, rediss:// or unix://). Empty: a private redis-server under the data directory; \"off\": none, slower but complete."`
	ElasticsearchURL string `env:"ELASTICSEARCH_URL" secret:"url" doc:"Elasticsearch 8. Empty: search runs on PostgreSQL."`

	Addr            string        `env:"ADDR" envDefault:"127.0.0.1:8080" doc:"Where the API and the screens listen."`
	AdminAddr       string        `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8081" doc:"Where health, metrics and profiles listen; keep it private. \"off\": nowhere."`
	PublicURL       string        `env:"PUBLIC_URL" doc:"Address under which people and providers reach the API, for links and callbacks. Empty: http:// and the listening address."`
	Roles           []string      `env:"ROLES" envDefault:"api,ingest,segments,journeys,send,chat,jobs" doc:"What this process does; see docs/architecture.md."`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"20s" doc:"How long requests and loops may take to finish when the process is asked to stop."`

	MasterKey     string `env:"MASTER_KEY" secret:"all" doc:"32 bytes in hexadecimal or base64 that wrap the keys of personal data. Empty: LIANKE_MASTER_KEY_FILE."`
	MasterKeyFile string `env:"MASTER_KEY_FILE" doc:"File that holds the master key. Empty: master.key under the data directory, made at first start with mode 0600."`

	MailAddr string `env:"MAIL_ADDR" doc:"Where bounces, complaints and unsubscribe mails are taken by SMTP; the MX of the mail accounts' domain leads here. Empty: nowhere."`
	Sandbox  string `env:"SANDBOX" doc:"Route file written by lianke sandbox: all messages go to the local stand-ins of the providers, none leaves the machine. Empty: the real providers."`

	WeChatPayFile string `env:"WECHATPAY_FILE" doc:"JSON file (0600) with the merchant accounts of WeChat Pay: an array of account, mchid, appid, serial, private_key, apiv3_key, platform_id, platform_key, notify_url. Empty: orders cannot be paid by WeChat."`

	WebhookPrivate bool `env:"WEBHOOK_PRIVATE" envDefault:"false" doc:"Let webhooks of journeys call addresses of the private network and of this machine."`

	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"INFO" doc:"DEBUG, INFO, WARN or ERROR."`
	LogFormat string     `env:"LOG_FORMAT" envDefault:"json" doc:"json, or text for people."`

	OTLPEndpoint string  `env:"OTLP_ENDPOINT" secret:"url" doc:"OpenTelemetry collector (OTLP over HTTP) that receives traces. Empty: no tracing."`
	TraceSample  float64 `env:"TRACE_SAMPLE" envDefault:"0.05" doc:"Share of traces kept, 0 to 1."`

	Blob Blob `envPrefix:"BLOB_"`
}

// Blob says where files live: a folder, or a bucket of an S3-compatible store.
type Blob struct {
	Dir         string `env:"DIR" doc:"Folder for files. Empty: blobs under the data directory."`
	S3Endpoint  string `env:"S3_ENDPOINT" doc:"S3-compatible store, host:port; empty: the folder is used."`
	S3Bucket    string `env:"S3_BUCKET" doc:"Bucket; it must exist."`
	S3Region    string `env:"S3_REGION" doc:"Region, where the store wants one."`
	S3AccessKey string `env:"S3_ACCESS_KEY" doc:"Access key."`
	S3SecretKey string `env:"S3_SECRET_KEY" secret:"all" doc:"Secret key."`
	S3Insecure  bool   `env:"S3_INSECURE" envDefault:"false" doc:"Use plain HTTP."`
}

// Roles are what a process can do, in the order of the pipeline.
var Roles = []string{"api", "ingest", "segments", "journeys", "send", "chat", "jobs"}

var errInvalid = fault.New(fault.Invalid, "config.invalid", "配置有误", "the configuration is wrong").
	WithHint("请逐项更正;lianke config 列出全部设置", "correct each of them; `lianke config` lists all settings")

// Load reads the variables of environ (os.Environ form). dataDir overrules LIANKE_DATA_DIR unless empty. A wrong or
// unknown LIANKE_ variable is an error that names it.
func Load(environ []string, dataDir string) (Config, error) {
	vars := env.ToMap(environ)
	var c Config
	if err := env.ParseWithOptions(&c, env.Options{Prefix: Prefix, Environment: vars}); err != nil {
		return Config{}, unreadable(err, vars)
	}
	if dataDir != "" {
		c.DataDir = dataDir
	}
	if c.DataDir == "" {
		c.DataDir = defaultDataDir(vars)
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return Config{}, fmt.Errorf("data directory: %w", err)
	}
	c.DataDir = abs
	if c.MasterKeyFile == "" {
		c.MasterKeyFile = filepath.Join(c.DataDir, "master.key")
	}
	if c.Blob.Dir == "" {
		c.Blob.Dir = filepath.Join(c.DataDir, "blobs")
	}
	if err := c.validate(vars); err != nil {
		return Config{}, err
	}
	return c, nil
}

// defaultDataDir is a system directory for root and a personal one for everybody else.
func defaultDataDir(vars map[string]string) string {
	if os.Geteuid() == 0 {
		return "/var/lib/lianke"
	}
	if xdg := vars["XDG_DATA_HOME"]; filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "lianke")
	}
	if home := vars["HOME"]; home != "" {
		return filepath.Join(home, ".local", "share", "lianke")
	}
	return "lianke-data"
}
