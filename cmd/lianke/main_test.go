package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A stray word ends flag parsing: --data-dir behind it would be lost and the command would run on another installation.
func TestStrayWordsAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"serve", "demo", "migrate", "doctor", "config", "sandbox", "version"} {
		dir := filepath.Join(t.TempDir(), "untouched")
		var stderr bytes.Buffer
		code := run(t.Context(), console{nil, &bytes.Buffer{}, &stderr}, []string{name, "stray", "--data-dir", dir})
		require.Equal(t, 2, code, name)
		require.Contains(t, stderr.String(), `takes no argument "stray"`, name)
		require.NoDirExists(t, dir, name)
	}
}

// A mistyped --data-dir is not a new installation for commands that look something up in one.
func TestADirectoryWithoutInstallationIsRefused(t *testing.T) {
	t.Setenv("LIANKE_DATABASE_URL", "")
	rule := filepath.Join(t.TempDir(), "rule.json")
	require.NoError(t, os.WriteFile(rule, []byte(`{"tag":"vip"}`), 0o600))
	for _, words := range [][]string{
		{"segment", "count", "--rule", rule}, {"journey", "list"}, {"identity", "find", "8001"}, {"identity", "audit"}, {"search", "rebuild"}, {"backup", "x.backup"},
	} {
		dir := filepath.Join(t.TempDir(), "mistyped")
		var stderr bytes.Buffer
		code := run(t.Context(), console{nil, &bytes.Buffer{}, &stderr}, append(words, "--data-dir", dir))
		require.Equal(t, 1, code, words)
		for _, part := range []string{"installation.none", "--data-dir", dir, "没有 Lianke 安装", "lianke serve"} {
			require.Contains(t, stderr.String(), part, words)
		}
		require.NoDirExists(t, dir, words)
	}
}
