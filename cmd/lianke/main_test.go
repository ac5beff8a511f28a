package main

import (
	"bytes"
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
