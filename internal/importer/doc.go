// Package importer loads files into the modules. A Kind, declared by the module that owns the data, says which columns it
// reads, how a row becomes a record, and how a batch of records is stored; everything else is the same for all kinds and
// lives here.
//
// Owns core.import_jobs (runs and checkpoints) and core.import_rows (key and content of every row taken).
//
// Invariants.
//   - rows = accepted + rejected + duplicates. A duplicate has the key and the content of a row taken before, in this file
//     or another; the same key with other content is accepted as an update.
//   - Each batch is one transaction: records, row keys, counters. A process killed at any point resumes behind the last
//     committed batch when the same file (by content) is imported again in the same mode, and no row counts twice. The
//     reject file is cut back to what the checkpoint covers.
//   - Batches of one kind run one after the other, over all processes (advisory lock), so that duplicates are exact.
//   - A dry run rolls every batch back and remembers row keys in a temporary table: it reports what a real run would,
//     except for what records of one batch make possible for records of another.
//   - Memory is bounded by one batch (BatchRows rows or BatchBytes bytes, whichever comes first).
//
// A row whose cells are wrong is rejected with column, reason and fix, and the others go on. A file without its required
// columns is refused as a whole. Losing the database ends the run; start it again to resume.
package importer
