-- +goose Up

-- The search index where there is no Elasticsearch. Terms are words and tokens, never personal data in clear.
CREATE TABLE core.search_documents (
    kind    text    NOT NULL,
    id      text    NOT NULL,
    version bigint  NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    words   text[]  NOT NULL DEFAULT '{}',
    terms   text[]  NOT NULL DEFAULT '{}',
    facets  text[]  NOT NULL DEFAULT '{}',
    rank    bigint  NOT NULL DEFAULT 0,
    CONSTRAINT search_documents_pkey PRIMARY KEY (kind, id)
);
COMMENT ON TABLE core.search_documents IS 'class=by_key; search index, rebuilt from the truth at any time';
CREATE INDEX search_documents_words ON core.search_documents USING gin (words) WITH (fastupdate = off);
CREATE INDEX search_documents_terms ON core.search_documents USING gin (terms) WITH (fastupdate = off);
CREATE INDEX search_documents_rank ON core.search_documents (kind, rank DESC, id COLLATE "C") WHERE NOT deleted;

-- Words of the index, for prefixes.
CREATE TABLE core.search_words (
    kind text NOT NULL,
    word text COLLATE "C" NOT NULL,
    CONSTRAINT search_words_pkey PRIMARY KEY (kind, word)
);
COMMENT ON TABLE core.search_words IS 'class=by_key; words of the search index, for prefixes';
