package search

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/pg"
)

// Postgres is an Index in PostgreSQL. Puts may join a caller's transaction: pass it as the DB.
type Postgres struct{ db pg.DB }

// NewPostgres returns the index on db.
func NewPostgres(db pg.DB) *Postgres { return &Postgres{db} }

// putSQL takes documents as one JSON array, because arrays of arrays must be rectangular. Rows are locked in id order.
const putSQL = `
WITH input AS (
    SELECT DISTINCT ON (kind, id) *
    FROM jsonb_to_recordset(@docs) AS d (kind text, id text, version bigint, words text[], terms text[], facets text[], rank bigint)
    ORDER BY kind, id, version DESC
), known AS (
    INSERT INTO core.search_words (kind, word)
    SELECT DISTINCT i.kind, w.word COLLATE "C"
    FROM input i, unnest(i.words) AS w (word)
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
)
INSERT INTO core.search_documents AS d (kind, id, version, words, terms, facets, rank)
SELECT kind, id, version, words, terms, facets, rank
FROM input
ORDER BY kind, id
ON CONFLICT ON CONSTRAINT search_documents_pkey DO UPDATE
    SET version = excluded.version, deleted = false, words = excluded.words, terms = excluded.terms,
        facets = excluded.facets, rank = excluded.rank
    WHERE d.version < excluded.version`

type row struct {
	Kind    string   `json:"kind"`
	ID      string   `json:"id"`
	Version int64    `json:"version"`
	Words   []string `json:"words"`
	Terms   []string `json:"terms"`
	Facets  []string `json:"facets"`
	Rank    int64    `json:"rank"`
}

func rows(docs []Document) ([]row, error) {
	out := make([]row, len(docs))
	for i, d := range docs {
		if !validKind(d.Kind) || d.ID == "" || d.Version < 1 {
			return nil, ErrInvalid.With("what", fmt.Sprintf("document %d needs a kind, an id and a version from 1", i))
		}
		out[i] = row{d.Kind, d.ID, d.Version, analyse(d.Text), append([]string{}, d.Terms...), facetTerms(d.Facets), d.Rank}
		if out[i].Words == nil {
			out[i].Words = []string{}
		}
	}
	return out, nil
}

// Put implements Index.
func (p *Postgres) Put(ctx context.Context, docs []Document) error {
	rs, err := rows(docs)
	if err != nil || len(rs) == 0 {
		return err
	}
	text, err := json.Marshal(rs)
	if err != nil {
		return fmt.Errorf("encode search documents: %w", err)
	}
	if _, err := p.db.Exec(ctx, putSQL, pg.Args{"docs": text}); err != nil {
		return fmt.Errorf("index documents: %w", err)
	}
	return nil
}

// A deletion stays as a row without content, so that a late older version does not bring the document back.
const deleteSQL = `
INSERT INTO core.search_documents AS d (kind, id, version, deleted)
VALUES (@kind, @id, @version, true)
ON CONFLICT ON CONSTRAINT search_documents_pkey DO UPDATE
    SET version = excluded.version, deleted = true, words = '{}', terms = '{}', facets = '{}', rank = 0
    WHERE d.version <= excluded.version`

// Delete implements Index.
func (p *Postgres) Delete(ctx context.Context, kind, id string, version int64) error {
	if _, err := p.db.Exec(ctx, deleteSQL, pg.Args{"kind": kind, "id": id, "version": version}); err != nil {
		return fmt.Errorf("remove %s %s from the index: %w", kind, id, err)
	}
	return nil
}

// The prefix is looked up among the words first: at most 1,000 of them, then documents that hold one.
const searchSQL = `
WITH prefixed AS (
    SELECT array_agg(word::text) AS words
    FROM (SELECT word
          FROM core.search_words
          WHERE kind = @kind AND word >= @prefix AND word < @beyond
          ORDER BY word
          LIMIT 1000) w
), matches AS (
    SELECT rank, id
    FROM core.search_documents
    WHERE kind = @kind AND NOT deleted
      AND words @> @words::text[]
      AND terms @> @terms::text[]
      AND (@prefix = '' OR words && coalesce((SELECT words FROM prefixed), '{}'))
      AND (SELECT bool_and(facets && ARRAY(SELECT jsonb_array_elements_text(f.value)))
           FROM jsonb_each(@facets) AS f) IS NOT FALSE
)
SELECT rank, id, (SELECT count(*) FROM (SELECT FROM matches LIMIT 10000) m)
FROM matches
WHERE @first OR rank < @after_rank OR (rank = @after_rank AND id COLLATE "C" > @after_id)
ORDER BY rank DESC, id COLLATE "C"
LIMIT @limit`

// Search implements Index.
func (p *Postgres) Search(ctx context.Context, q Query) (Result, error) {
	if err := q.validate(); err != nil {
		return Result{}, err
	}
	exact, prefix := queryTerms(q.Text)
	groups := map[string][]string{}
	for name, values := range q.Facets {
		for _, v := range values {
			groups[name] = append(groups[name], facetTerm(name, v))
		}
	}
	facets, err := json.Marshal(groups)
	if err != nil {
		return Result{}, fmt.Errorf("encode facets: %w", err)
	}
	after := Position{}
	if q.After != nil {
		after = *q.After
	}
	found, err := p.db.Query(ctx, searchSQL, pg.Args{
		"kind": q.Kind, "words": nonNil(exact), "terms": nonNil(q.Terms), "prefix": prefix, "beyond": prefix + "\U0010FFFF",
		"facets": facets, "first": q.After == nil, "after_rank": after.Rank, "after_id": after.ID, "limit": q.Limit,
	})
	if err != nil {
		return Result{}, fmt.Errorf("search %s: %w", q.Kind, err)
	}
	var r Result
	var hit Position
	_, err = pgx.ForEachRow(found, []any{&hit.Rank, &hit.ID, &r.Total}, func() error {
		r.Hits = append(r.Hits, hit)
		return nil
	})
	if err != nil {
		return Result{}, fmt.Errorf("search %s: %w", q.Kind, err)
	}
	return r, nil
}

const resetSQL = `
WITH words AS (
    DELETE FROM core.search_words
    WHERE kind = @kind
)
DELETE FROM core.search_documents
WHERE kind = @kind`

// Reset implements Index.
func (p *Postgres) Reset(ctx context.Context, kind string) error {
	if _, err := p.db.Exec(ctx, resetSQL, pg.Args{"kind": kind}); err != nil {
		return fmt.Errorf("reset index %s: %w", kind, err)
	}
	return nil
}

func nonNil(s []string) []string { return append([]string{}, s...) }
