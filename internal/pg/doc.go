// Package pg is the only door to PostgreSQL: the pool, transactions with retry, migrations, and errors by constraint
// name. Every store takes a pg.DB, which is a pool or a transaction, and holds its SQL in constants that a test prepares
// against the migrated schema.
//
// Transactions. InTx and its pipelined sister InSteps are the only places that begin and retry. Called on a Pool it opens a READ COMMITTED transaction
// and runs the function again after a serialization failure or a deadlock (40001, 40P01), at most ten times with jitter;
// called on a transaction it runs the function inside it behind a savepoint and leaves retrying to the outermost call.
// The function must therefore have no effect outside the transaction.
//
// Schemas. Each root folder owns the schema of its name (member, segments, journeys, commerce, channels, templates);
// internal plumbing owns core. Migrations are linear, forward-only and embedded from migrations/. Each table carries
// COMMENT ON TABLE … IS 'class=reference|by_birth|by_key; …' (docs/architecture.md, "Table classes").
package pg
