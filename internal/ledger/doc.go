// Package ledger is the double-entry kernel of the house. It knows books, accounts, transactions and postings, and no
// domain: points, coupons, credit and settlement bring the accounts and decide what moves.
//
// Words. A book is a set of accounts in one asset; nothing moves between books. A transaction has a key and two or more
// postings; a posting adds a signed integer to one account (positive into it, negative out of it) and the postings of a
// transaction sum to zero. Amounts are at most 10^15 in size, so that sums cannot overflow unnoticed.
//
// Invariants, each held by the database:
//   - the postings of every transaction sum to zero (statement trigger ledger_postings_balanced);
//   - postings and transactions are never changed or removed (trigger ledger_append_only); a mistake is corrected by a
//     transaction of its own;
//   - an account opened with a floor never falls below it (CHECK ledger_balances_floor);
//   - the same key in the same book is posted once (UNIQUE ledger_transactions_key); the same key with another input is
//     ErrKeyReused. The instant is not part of the compared input: a retry may happen later.
//
// Balances are exact at every commit. A spread account has one row that its writers lock, in the order of account ids, so
// posts do not deadlock among themselves. A hot account (issued points, cash clearing) would make all its writers wait for each other: its
// writers append deltas instead, a reader adds them up, and Fold moves them into the row in the background. A hot account
// has no floor, because nobody knows its balance while writing it. Where a floor and heat meet, or where callers have no
// transaction of their own, Combiner commits many callers' transactions together.
//
// Verify proves the invariants over the whole ledger; Rebuild computes all balances anew from the postings and says
// whether they were identical.
//
// Owns core.ledger_books, ledger_accounts, ledger_balances, ledger_deltas, ledger_transactions, ledger_postings. Publishes
// no events: its callers do.
package ledger
