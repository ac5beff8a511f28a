// Package search finds documents by the words in them: one interface, kept by PostgreSQL (Postgres) or by Elasticsearch
// (Elastic), whichever the installation has. Both pass the conformance suite in searchtest.
//
// Texts are analysed here, in Go, and both engines store nothing but the resulting terms, so that they give the same
// answers: lower-cased words and numbers of any script, and bigrams of Chinese, Japanese and Korean runs. A query finds the
// documents that hold all of its terms, the last of them as a prefix.
//
// Personal data never comes here in clear. Whoever indexes people passes blind tokens (internal/crypt) as exact terms, and
// ids and codes as facets. The index holds no truth: it can be dropped and rebuilt from PostgreSQL at any time, and losing
// Elasticsearch loses search, not data.
//
// A document carries the version of the row it was made from; an older version never overwrites a newer one, whatever the
// order in which they arrive.
package search
