package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// Elastic is an Index in Elasticsearch 8: one index per kind, named prefix-kind.
type Elastic struct {
	client *elasticsearch.Client
	prefix string

	mu   sync.Mutex
	made map[string]bool
}

// NewElastic connects to the cluster at the URL. prefix begins the names of its indexes ("lianke"). transport may be nil.
func NewElastic(url, prefix string, transport http.RoundTripper) (*Elastic, error) {
	client, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{url}, Transport: transport, MaxRetries: 3})
	if err != nil {
		return nil, fmt.Errorf("elasticsearch client: %w", err)
	}
	return &Elastic{client: client, prefix: prefix, made: map[string]bool{}}, nil
}

// mapping stores terms as they are: the analysis happened in Go. norms and frequencies would only cost space.
const mapping = `{
  "settings": {"number_of_replicas": 0, "index.max_result_window": 10000, "index.gc_deletes": "7d"},
  "mappings": {"dynamic": "strict", "properties": {
    "id": {"type": "keyword"}, "words": {"type": "keyword"}, "terms": {"type": "keyword"},
    "facets": {"type": "keyword"}, "rank": {"type": "long"}}}}`

func (e *Elastic) index(kind string) string {
	return e.prefix + "-" + strings.ReplaceAll(kind, "_", "-")
}

func (e *Elastic) ensure(ctx context.Context, kind string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.made[kind] {
		return nil
	}
	res, err := e.client.Indices.Create(e.index(kind), e.client.Indices.Create.WithContext(ctx), e.client.Indices.Create.WithBody(strings.NewReader(mapping)))
	body, err := read(res, err)
	if err != nil && !strings.Contains(string(body), "resource_already_exists_exception") {
		return fmt.Errorf("create index %s: %w", e.index(kind), err)
	}
	e.made[kind] = true
	return nil
}

type elasticDoc struct {
	ID     string   `json:"id"`
	Words  []string `json:"words"`
	Terms  []string `json:"terms"`
	Facets []string `json:"facets"`
	Rank   int64    `json:"rank"`
}

// Put implements Index. Elasticsearch compares versions itself (external versioning).
func (e *Elastic) Put(ctx context.Context, docs []Document) error {
	rs, err := rows(docs)
	if err != nil || len(rs) == 0 {
		return err
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for _, r := range rs {
		if err := e.ensure(ctx, r.Kind); err != nil {
			return err
		}
		action := map[string]any{"index": map[string]any{"_index": e.index(r.Kind), "_id": r.ID, "version": r.Version, "version_type": "external"}}
		if err := errors.Join(enc.Encode(action), enc.Encode(elasticDoc{r.ID, r.Words, r.Terms, r.Facets, r.Rank})); err != nil {
			return fmt.Errorf("encode search documents: %w", err)
		}
	}
	return e.bulk(ctx, &body)
}

// Delete implements Index. A deletion carries its version; index.gc_deletes remembers it for a week.
func (e *Elastic) Delete(ctx context.Context, kind, id string, version int64) error {
	if err := e.ensure(ctx, kind); err != nil {
		return err
	}
	var body bytes.Buffer
	action := map[string]any{"delete": map[string]any{"_index": e.index(kind), "_id": id, "version": version, "version_type": "external_gte"}}
	if err := json.NewEncoder(&body).Encode(action); err != nil {
		return fmt.Errorf("encode deletion: %w", err)
	}
	return e.bulk(ctx, &body)
}

func (e *Elastic) bulk(ctx context.Context, body io.Reader) error {
	res, err := e.client.Bulk(body, e.client.Bulk.WithContext(ctx), e.client.Bulk.WithRefresh("wait_for"))
	text, err := read(res, err)
	if err != nil {
		return fmt.Errorf("bulk: %w", err)
	}
	var answer struct {
		Items []map[string]struct {
			Status int             `json:"status"`
			Error  json.RawMessage `json:"error"`
		} `json:"items"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("bulk answer: %w", err)
	}
	for _, item := range answer.Items {
		for _, r := range item {
			// 409: the index holds a newer version; 404: the document was not there.
			if r.Status >= 400 && r.Status != http.StatusConflict && r.Status != http.StatusNotFound {
				return fmt.Errorf("bulk item: status %d: %s", r.Status, r.Error)
			}
		}
	}
	return nil
}

// Search implements Index.
func (e *Elastic) Search(ctx context.Context, q Query) (Result, error) {
	if err := q.validate(); err != nil {
		return Result{}, err
	}
	if err := e.ensure(ctx, q.Kind); err != nil {
		return Result{}, ErrUnavailable.Because(err)
	}
	filter := []any{map[string]any{"match_all": map[string]any{}}}
	exact, prefix := queryTerms(q.Text)
	term := func(field, value string) {
		filter = append(filter, map[string]any{"term": map[string]any{field: value}})
	}
	for _, w := range exact {
		term("words", w)
	}
	for _, t := range q.Terms {
		term("terms", t)
	}
	if prefix != "" {
		filter = append(filter, map[string]any{"prefix": map[string]any{"words": prefix}})
	}
	for name, values := range q.Facets {
		accepted := make([]string, len(values))
		for i, v := range values {
			accepted[i] = facetTerm(name, v)
		}
		filter = append(filter, map[string]any{"terms": map[string]any{"facets": accepted}})
	}
	request := map[string]any{
		"size": q.Limit, "track_total_hits": 10000, "_source": []string{"id", "rank"},
		"query": map[string]any{"bool": map[string]any{"filter": filter}},
		"sort":  []any{map[string]any{"rank": "desc"}, map[string]any{"id": "asc"}},
	}
	if q.After != nil {
		request["search_after"] = []any{q.After.Rank, q.After.ID}
	}
	body, err := json.Marshal(request)
	if err != nil {
		return Result{}, fmt.Errorf("encode search: %w", err)
	}
	res, err := e.client.Search(e.client.Search.WithContext(ctx), e.client.Search.WithIndex(e.index(q.Kind)), e.client.Search.WithBody(bytes.NewReader(body)))
	text, err := read(res, err)
	if err != nil {
		return Result{}, ErrUnavailable.Because(err)
	}
	var answer struct {
		Hits struct {
			Total struct{ Value int64 }
			Hits  []struct {
				Source Position `json:"_source"`
			}
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return Result{}, fmt.Errorf("search answer: %w", err)
	}
	r := Result{Total: answer.Hits.Total.Value}
	for _, h := range answer.Hits.Hits {
		r.Hits = append(r.Hits, h.Source)
	}
	if len(r.Hits) == 0 && q.After != nil {
		r.Total = 0 // like PostgreSQL, which counts along with the hits
	}
	return r, nil
}

// Reset implements Index.
func (e *Elastic) Reset(ctx context.Context, kind string) error {
	res, err := e.client.Indices.Delete([]string{e.index(kind)}, e.client.Indices.Delete.WithContext(ctx), e.client.Indices.Delete.WithIgnoreUnavailable(true))
	if _, err := read(res, err); err != nil {
		return fmt.Errorf("reset index %s: %w", kind, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.made, kind)
	return nil
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 32 << 20

func read(res *esapi.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.IsError() {
		return body, fmt.Errorf("status %d: %.300s", res.StatusCode, body)
	}
	return body, nil
}
