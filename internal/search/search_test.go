package search_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/pg/pgtest"
	"github.com/lianke/lianke/internal/search"
	"github.com/lianke/lianke/internal/search/searchtest"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	searchtest.Run(t, func(t *testing.T) search.Index { return search.NewPostgres(pgtest.Tx(t)) })
}

// TestElastic runs where `make test-servers` has started Elasticsearch; there the URL must be set.
func TestElastic(t *testing.T) {
	t.Parallel()
	url := os.Getenv("LIANKE_TEST_ELASTICSEARCH_URL")
	if url == "" {
		require.Empty(t, os.Getenv("LIANKE_TEST_SERVERS"), "LIANKE_TEST_SERVERS is set, but LIANKE_TEST_ELASTICSEARCH_URL is not")
		return
	}
	searchtest.Run(t, func(t *testing.T) search.Index {
		x, err := search.NewElastic(url, "t"+id.New().String(), nil)
		require.NoError(t, err)
		t.Cleanup(func() {
			for _, kind := range []string{"thing", "other"} {
				require.NoError(t, x.Reset(context.Background(), kind))
			}
		})
		return x
	})
}
