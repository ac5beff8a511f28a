package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/config"
	"github.com/lianke/lianke/internal/fault"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestDefaultsStandOnTheDataDirectory(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"HOME=/home/li"}, "/srv/brand")
	require.NoError(t, err)
	require.Equal(t, "/srv/brand", c.DataDir)
	require.Equal(t, "/srv/brand/master.key", c.MasterKeyFile)
	require.Equal(t, "/srv/brand/blobs", c.Blob.Dir)
	require.Equal(t, config.Roles, c.Roles)
	require.Equal(t, "127.0.0.1:8080", c.Addr)
	require.Empty(t, c.DatabaseURL)
}

func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for setting, path := range map[string]string{
		"LIANKE_ROLES=api,cook":             "LIANKE_ROLES",
		"LIANKE_LOG_FORMAT=xml":             "LIANKE_LOG_FORMAT",
		"LIANKE_TRACE_SAMPLE=2":             "LIANKE_TRACE_SAMPLE",
		"LIANKE_DATABSE_URL=postgres://x":   "LIANKE_DATABSE_URL",
		"LIANKE_BLOB_S3_ENDPOINT=s3.local":  "LIANKE_BLOB_S3_BUCKET",
		"LIANKE_DATABASE_CONNS=-1":          "LIANKE_DATABASE_CONNS",
		"LIANKE_SHUTDOWN_TIMEOUT=-3s":       "LIANKE_SHUTDOWN_TIMEOUT",
		"LIANKE_BLOB_S3_UNKNOWN_VARIABLE=1": "LIANKE_BLOB_S3_UNKNOWN_VARIABLE",
		"LIANKE_BLOB_S3_BUCKET=files":       "LIANKE_BLOB_S3_ENDPOINT",
		"LIANKE_LOG_LEVEL=LOUD":             "LIANKE_LOG_LEVEL",
		"LIANKE_ADDR=8080":                  "LIANKE_ADDR",
		"LIANKE_ADDR=:99999":                "LIANKE_ADDR",
		"LIANKE_ADMIN_ADDR=no":              "LIANKE_ADMIN_ADDR",
		"LIANKE_SHUTDOWN_TIMEOUT=soon":      "LIANKE_SHUTDOWN_TIMEOUT",
		"LIANKE_WEBHOOK_PRIVATE=perhaps":    "LIANKE_WEBHOOK_PRIVATE",
		"LIANKE_DATABASE_CONNS=many":        "LIANKE_DATABASE_CONNS",
		"LIANKE_PUBLIC_URL=brand.example":   "LIANKE_PUBLIC_URL",
	} {
		_, err := config.Load([]string{setting}, t.TempDir())
		require.Error(t, err, setting)
		f := fault.From(err)
		require.Equal(t, fault.Invalid, f.Kind, setting)
		require.NotEmpty(t, f.Fields, setting)
		require.Equal(t, path, f.Fields[0].Path)
		require.NotEmpty(t, f.Fields[0].Hint.ZH, setting)
		require.NotEmpty(t, f.Fields[0].Hint.EN, setting)
	}
}

// What is wrong, what was given and what may be given stand in one line.
func TestAWrongSettingSaysWhatWasGivenAndWhatMayBe(t *testing.T) {
	t.Parallel()
	_, err := config.Load([]string{"LIANKE_LOG_LEVEL=LOUD", "LIANKE_TRACE_SAMPLE=lots"}, t.TempDir())
	require.ErrorContains(t, err, `LIANKE_LOG_LEVEL: "LOUD" is not valid (use DEBUG, INFO, WARN or ERROR)`)
	require.ErrorContains(t, err, `LIANKE_TRACE_SAMPLE: "lots" is not valid (write a number such as 0.05)`)
	_, err = config.Load([]string{"LIANKE_ADDR=8080"}, t.TempDir())
	require.ErrorContains(t, err, `LIANKE_ADDR: "8080" is not valid (write HOST:PORT such as 127.0.0.1:8080 or :8080)`)
}

func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{
		"LIANKE_DATABASE_URL=postgres://li:hunter2@db/lianke",
		"LIANKE_REDIS_URL=redis://:hunter2@cache:6379/0",
		"LIANKE_MASTER_KEY=hunter2",
		"LIANKE_BLOB_S3_SECRET_KEY=hunter2",
		"LIANKE_ELASTICSEARCH_URL=host=x password=hunter2",
		"LIANKE_OTLP_ENDPOINT=https://collector/otlp?password=hunter2",
	}, t.TempDir())
	require.NoError(t, err)
	shown := map[string]string{}
	for _, v := range c.Effective() {
		require.NotContains(t, v.Value, "hunter2", v.Name)
		shown[v.Name] = v.Value
	}
	require.Equal(t, "postgres://li:xxxxx@db/lianke", shown["LIANKE_DATABASE_URL"])
}

func TestMasterKeyIsMadeOnceAndKeptPrivate(t *testing.T) {
	t.Parallel()
	c, err := config.Load(nil, t.TempDir())
	require.NoError(t, err)
	first, err := c.LoadMasterKey()
	require.NoError(t, err)
	require.Len(t, first, config.MasterKeySize)
	second, err := c.LoadMasterKey()
	require.NoError(t, err)
	require.Equal(t, first, second)

	require.NoError(t, os.Chmod(c.MasterKeyFile, 0o644))
	_, err = c.LoadMasterKey()
	require.ErrorContains(t, err, "can be read by others")

	c.MasterKey = strings.Repeat("ab", 31)
	_, err = c.LoadMasterKey()
	require.Equal(t, "config.master_key", fault.From(err).Code)

	c.MasterKey, c.MasterKeyFile = "", filepath.Join(t.TempDir(), "elsewhere")
	_, err = c.LoadMasterKey()
	require.ErrorIs(t, err, os.ErrNotExist, "only the default file is made")
}

func TestDocumentationIsCurrent(t *testing.T) {
	t.Parallel()
	const file = "../../docs/config.md"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(config.Markdown()), 0o644))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, config.Markdown(), string(text), "run `make gen`")
}
