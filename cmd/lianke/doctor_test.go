package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/harness"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

type diagnosis struct {
	OK     bool      `json:"ok"`
	Checks []finding `json:"checks"`
}

func (d diagnosis) find(t *testing.T, check string) finding {
	t.Helper()
	for _, f := range d.Checks {
		if f.Check == check {
			return f
		}
	}
	require.Fail(t, "no check "+check)
	return finding{}
}

func TestDoctorSaysWhatIsWrongAndHowToMendIt(t *testing.T) {
	t.Parallel()
	o := harness.Options{DatabaseURL: pgtest.URL(t), DataDir: t.TempDir(), Env: []string{
		"LIANKE_ADDR=127.0.0.1:0", "LIANKE_ADMIN_ADDR=127.0.0.1:0",
	}}
	p, code := harness.Run(t, o, "doctor", "--json")
	require.Equal(t, 0, code, p.Log())
	var d diagnosis
	p.JSON(&d)
	require.True(t, d.OK)
	require.Equal(t, "ok", d.find(t, "migrations").Status)

	// A key that others can read, a database that is away, a data directory that cannot be made.
	key := filepath.Join(o.DataDir, "master.key")
	require.NoError(t, os.WriteFile(key, []byte("x"), 0o644))
	bad := o
	bad.DatabaseURL = "postgres://li@127.0.0.1:1/x?connect_timeout=2"
	p, code = harness.Run(t, bad, "doctor", "--json")
	require.Equal(t, 1, code)
	d = diagnosis{}
	p.JSON(&d)
	require.False(t, d.OK)
	require.Contains(t, d.find(t, "master_key").Fix.EN, "chmod 600")
	require.Equal(t, "fail", d.find(t, "postgres").Status)
	require.Contains(t, d.find(t, "postgres").Fix.EN, "LIANKE_DATABASE_URL")
	for _, f := range d.Checks {
		require.NotEmpty(t, f.Text.ZH, f.Check)
		if f.Status == "fail" {
			require.NotEmpty(t, f.Fix.ZH, f.Check)
			require.NotEmpty(t, f.Fix.EN, f.Check)
		}
	}
}
