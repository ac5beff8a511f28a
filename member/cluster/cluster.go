// Package cluster is the one way to read which births are one member and to lock it, for the facts that hang on births. It
// owns no tables: it reads member.births and locks member.members, which member/identity keeps.
//
// Lock order in a transaction: what member/identity locks (Observe, Merge, Split; see there) comes first; then Lock, once
// and for all members concerned, which takes their rows of member.members in the order of ids; then rows of facts. Merge
// and split take the same rows, so a cluster does not change while its member is locked: whatever counts over a member
// (balances, limits, enrolment) is read after Lock, under the clusters that it returns.
package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// Cluster is one member: its root, and all its births in ascending order.
type Cluster struct {
	Root   member.ID
	Births []member.Birth
}

// ErrUnknown says that a birth belongs to no member.
var ErrUnknown = fault.New(fault.NotFound, "member.unknown", "没有会员 {birth}", "there is no member {birth}").
	WithHint("请检查编号;lianke identity find 可按手机尾号、姓名或卡号查找", "check the number; `lianke identity find` looks for phone tails, names and cards")

const clustersSQL = `
SELECT r.birth, c.root, array_agg(c.birth ORDER BY c.birth)
FROM member.births r
JOIN member.births c ON c.root = r.root
WHERE r.birth = ANY(@births)
GROUP BY r.birth, c.root`

// Of returns the cluster of each birth; births that do not exist are missing from the result.
func Of(ctx context.Context, db pg.DB, births []member.Birth) (map[member.Birth]Cluster, error) {
	rows, err := db.Query(ctx, clustersSQL, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("read clusters: %w", err)
	}
	out, err := collect(rows, len(births))
	if err != nil {
		return nil, fmt.Errorf("read clusters: %w", err)
	}
	return out, nil
}

// Get returns the cluster of a birth, or ErrUnknown.
func Get(ctx context.Context, db pg.DB, birth member.Birth) (Cluster, error) {
	all, err := Of(ctx, db, []member.Birth{birth})
	if err != nil {
		return Cluster{}, err
	}
	c, ok := all[birth]
	if !ok {
		return Cluster{}, ErrUnknown.With("birth", birth)
	}
	return c, nil
}

const rootsSQL = `
SELECT birth, root
FROM member.births
WHERE birth = ANY(@births)`

// Roots returns only the member of each birth; births that do not exist are missing from the result.
func Roots(ctx context.Context, db pg.DB, births []member.Birth) (map[member.Birth]member.ID, error) {
	rows, err := db.Query(ctx, rootsSQL, pg.Args{"births": births})
	if err != nil {
		return nil, fmt.Errorf("read roots: %w", err)
	}
	out := make(map[member.Birth]member.ID, len(births))
	var birth member.Birth
	var root member.ID
	if _, err := pgx.ForEachRow(rows, []any{&birth, &root}, func() error { out[birth] = root; return nil }); err != nil {
		return nil, fmt.Errorf("read roots: %w", err)
	}
	return out, nil
}

const birthsSQL = `
SELECT root, birth
FROM member.births
WHERE root = ANY(@roots)
ORDER BY root, birth`

// Births returns the births of each member in ascending order; members that do not exist are missing from the result.
func Births(ctx context.Context, db pg.DB, roots []member.ID) (map[member.ID][]member.Birth, error) {
	rows, err := db.Query(ctx, birthsSQL, pg.Args{"roots": roots})
	if err != nil {
		return nil, fmt.Errorf("read births: %w", err)
	}
	out := make(map[member.ID][]member.Birth, len(roots))
	var root member.ID
	var birth member.Birth
	if _, err := pgx.ForEachRow(rows, []any{&root, &birth}, func() error { out[root] = append(out[root], birth); return nil }); err != nil {
		return nil, fmt.Errorf("read births: %w", err)
	}
	return out, nil
}

const lockSQL = `
SELECT id
FROM member.members
WHERE id IN (SELECT root FROM member.births WHERE birth = ANY(@births))
ORDER BY id
FOR NO KEY UPDATE`

// Lock locks the members of the births until tx ends and returns their clusters as they are under the lock. It fails
// with ErrUnknown for a birth without member, and with pg.ErrRetry if a member merged or split before it could be locked.
func Lock(ctx context.Context, tx pgx.Tx, births []member.Birth) (map[member.Birth]Cluster, error) {
	locked := make(map[member.ID]bool, len(births))
	var out map[member.Birth]Cluster
	var b pgx.Batch
	b.Queue(lockSQL, pg.Args{"births": births}).Query(func(rows pgx.Rows) error {
		var root member.ID
		_, err := pgx.ForEachRow(rows, []any{&root}, func() error {
			locked[root] = true
			return nil
		})
		return err
	})
	// A statement of its own, hence a snapshot taken after the locks were granted.
	b.Queue(clustersSQL, pg.Args{"births": births}).Query(func(rows pgx.Rows) (err error) {
		out, err = collect(rows, len(births))
		return err
	})
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("lock members: %w", err)
	}
	for _, birth := range births {
		c, ok := out[birth]
		if !ok {
			return nil, ErrUnknown.With("birth", birth)
		}
		if !locked[c.Root] {
			return nil, errors.Join(fmt.Errorf("member of birth %d changed while locking", birth), pg.ErrRetry)
		}
	}
	return out, nil
}

func collect(rows pgx.Rows, n int) (map[member.Birth]Cluster, error) {
	out := make(map[member.Birth]Cluster, n)
	var birth member.Birth
	var c Cluster
	_, err := pgx.ForEachRow(rows, []any{&birth, &c.Root, &c.Births}, func() error {
		out[birth] = Cluster{Root: c.Root, Births: append([]member.Birth(nil), c.Births...)}
		return nil
	})
	return out, err
}

const withinSQL = `
SELECT EXISTS (
    SELECT 1
    FROM member.births b
    JOIN member.members m ON m.id = b.root
    WHERE b.birth = @birth
      AND (@all OR m.home_store = ANY(@stores))
      AND (@associate = '' OR m.attrs ->> 'associate' = @associate))`

// Within returns the cluster of a birth if its member lies in the scope; a member outside of it is ErrUnknown, like one
// that does not exist.
func Within(ctx context.Context, db pg.DB, scope auth.Scope, birth member.Birth) (Cluster, error) {
	var visible bool
	associate := ""
	if scope.Associate != nil {
		associate = scope.Associate.String()
	}
	args := pg.Args{"birth": birth, "all": scope.All, "stores": scope.Stores, "associate": associate}
	if err := db.QueryRow(ctx, withinSQL, args).Scan(&visible); err != nil {
		return Cluster{}, fmt.Errorf("find member %s: %w", birth, err)
	}
	if !visible {
		return Cluster{}, ErrUnknown.With("birth", birth)
	}
	return Get(ctx, db, birth)
}
