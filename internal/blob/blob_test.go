package blob_test

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/blob"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T) blob.Store { return blob.NewFolder(filepath.Join(t.TempDir(), "blobs")) })
}

// TestS3 holds the client's side to the suite: what it asks for, and what it makes of the answers. The store behind it is
// the small one of fakes3_test.go; signatures and checksums are a real store's business and not proven here.
func TestS3(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T) blob.Store {
		srv := httptest.NewServer(&fakeS3{bucket: "lianke", objects: map[string][]byte{}})
		t.Cleanup(srv.Close)
		s, err := blob.NewS3(blob.S3Options{
			Endpoint: strings.TrimPrefix(srv.URL, "http://"), Bucket: "lianke", Region: "cn-east-1",
			AccessKey: "key", SecretKey: "secret", Insecure: true, PathStyle: true,
		})
		require.NoError(t, err)
		return s
	})
}

// conform is what every store must do.
func conform(t *testing.T, open func(t *testing.T) blob.Store) {
	put := func(t *testing.T, s blob.Store, key, text string) error {
		t.Helper()
		return s.Put(t.Context(), key, strings.NewReader(text), int64(len(text)))
	}
	read := func(t *testing.T, s blob.Store, key string) string {
		t.Helper()
		r, err := s.Open(t.Context(), key)
		require.NoError(t, err)
		defer r.Close()
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		return string(text)
	}

	t.Run("a file is what was put", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		require.NoError(t, put(t, s, "a/b/c.csv", "连客"))
		require.NoError(t, put(t, s, "empty", ""))
		require.Equal(t, "连客", read(t, s, "a/b/c.csv"))
		require.Empty(t, read(t, s, "empty"))
		size, err := s.Size(t.Context(), "a/b/c.csv")
		require.NoError(t, err)
		require.EqualValues(t, 6, size)
	})
	t.Run("a large file", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MB
		require.NoError(t, put(t, s, "large", large))
		require.True(t, read(t, s, "large") == large)
	})
	t.Run("nothing is replaced", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		require.NoError(t, put(t, s, "x", "first"))
		require.ErrorIs(t, put(t, s, "x", "second"), blob.ErrExists)
		require.Equal(t, "first", read(t, s, "x"))
	})
	t.Run("one of many wins", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		var wg sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			wg.Go(func() { results[i] = put(t, s, "x", fmt.Sprint(i)) })
		}
		wg.Wait()
		won := -1
		for i, err := range results {
			if err == nil {
				require.Equal(t, -1, won, "two won")
				won = i
			} else {
				require.ErrorIs(t, err, blob.ErrExists)
			}
		}
		require.Equal(t, fmt.Sprint(won), read(t, s, "x"))
	})
	t.Run("a wrong length leaves nothing", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		require.ErrorIs(t, s.Put(t.Context(), "short", strings.NewReader("abc"), 4), blob.ErrSize)
		require.ErrorIs(t, s.Put(t.Context(), "long", strings.NewReader("abcde"), 4), blob.ErrSize)
		broken := io.MultiReader(strings.NewReader("ab"), brokenReader{})
		require.Error(t, s.Put(t.Context(), "broken", broken, 4))
		keys, err := s.List(t.Context(), "", "", 10)
		require.NoError(t, err)
		require.Empty(t, keys)
	})
	t.Run("what is not there", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		_, err := s.Open(t.Context(), "nothing")
		require.ErrorIs(t, err, blob.ErrNotFound)
		_, err = s.Size(t.Context(), "nothing")
		require.ErrorIs(t, err, blob.ErrNotFound)
		require.NoError(t, s.Delete(t.Context(), "nothing"))
		require.NoError(t, put(t, s, "x", "1"))
		require.NoError(t, s.Delete(t.Context(), "x"))
		_, err = s.Open(t.Context(), "x")
		require.ErrorIs(t, err, blob.ErrNotFound)
	})
	t.Run("keys that are none", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		for _, key := range []string{"", "/abs", "../up", "a/../b", "a//b", "a/", ".hidden", "a/.b", "a b", "名", strings.Repeat("x", 513)} {
			require.ErrorIs(t, put(t, s, key, "x"), blob.ErrKey, key)
			_, err := s.Open(t.Context(), key)
			require.ErrorIs(t, err, blob.ErrKey, key)
			require.ErrorIs(t, s.Delete(t.Context(), key), blob.ErrKey, key)
		}
	})
	t.Run("pages of keys in order", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		for _, key := range []string{"b/2", "a/1", "b-1", "b/10", "c", "b/1"} {
			require.NoError(t, put(t, s, key, key))
		}
		keys, err := s.List(t.Context(), "b", "", 2)
		require.NoError(t, err)
		require.Equal(t, []string{"b-1", "b/1"}, keys)
		keys, err = s.List(t.Context(), "b", "b/1", 10)
		require.NoError(t, err)
		require.Equal(t, []string{"b/10", "b/2"}, keys)
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the line went dead") }

func TestAFolderKeepsNoRemainsOfAFailedPut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Error(t, blob.NewFolder(dir).Put(t.Context(), "x", brokenReader{}, 4))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
