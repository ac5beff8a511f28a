package org_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

func contracts(t *testing.T) (*pg.Pool, *org.Contracts) {
	t.Helper()
	db := pgtest.DB(t)
	load(t, db, "entities", "code,name,taxpayer_kind\nrobin,知更集,general\nlinghe,岭南礼和,small_scale\n")
	load(t, db, "org", "code,parent,name,kind,entity\nHQ,,总部,hq,robin\nsouth,HQ,华南总代,partner,linghe\ngz,south,广州分部,partner,linghe\n"+
		"gz01,gz,东山口店,store,linghe\nsz01,south,南山店,store,linghe\nown,HQ,自营渠道,partner,robin\nhz01,HQ,湖滨路店,store,robin\n")
	return db, org.NewContracts(db, clock.NewVirtual(time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)))
}

func put(t *testing.T, db *pg.Pool, c org.Contract, do func(context.Context, pgx.Tx, auth.Actor, org.Contract) (org.Contract, error)) (out org.Contract, err error) {
	t.Helper()
	err = pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
		out, err = do(t.Context(), tx, auth.System, c)
		return err
	})
	return out, err
}

func contract(code, partner, from, to string) org.Contract {
	return org.Contract{
		Code: code, Partner: partner, Direction: org.DirectionCapital, ValidFrom: from, ValidTo: to,
		Terms: org.Terms{Model: org.ModelBuySell, Seller: org.RoleHQ, SupplyBp: 6_500, Collectors: []org.Tender{{Tender: "wechat", Collector: org.CollectorHQ}}},
	}
}

func TestTheNearestPartnersContractCovers(t *testing.T) {
	t.Parallel()
	db, s := contracts(t)
	for _, c := range []org.Contract{contract("c-south", "south", "2026-01-01", ""), contract("c-gz", "gz", "2026-02-01", "2026-07-01")} {
		_, err := put(t, db, c, s.Sign)
		require.NoError(t, err)
	}
	at := func(unit, day string) string {
		when, err := time.ParseInLocation(time.DateOnly, day, clock.Shanghai)
		require.NoError(t, err)
		c, ok, err := s.For(t.Context(), db, unit, when)
		require.NoError(t, err)
		require.Equal(t, ok, c.Code != "")
		return c.Code
	}
	require.Equal(t, "c-gz", at("gz01", "2026-03-01"))
	require.Equal(t, "c-south", at("gz01", "2026-01-31"), "not yet signed there")
	require.Equal(t, "c-south", at("gz01", "2026-07-01"), "valid_to is the first day without it")
	require.Equal(t, "c-south", at("sz01", "2026-03-01"))
	require.Empty(t, at("hz01", "2026-03-01"), "a store of HQ's own")
	require.Empty(t, at("sz01", "2025-12-31"))
}

func TestContractsKeepTheirVersionsAndScope(t *testing.T) {
	t.Parallel()
	db, s := contracts(t)
	c, err := put(t, db, contract("c-south", "south", "2026-01-01", ""), s.Sign)
	require.NoError(t, err)
	_, err = put(t, db, c, s.Sign)
	require.ErrorIs(t, err, org.ErrContractExists)
	c.Terms.SupplyBp = 6_000
	changed, err := put(t, db, c, s.Change)
	require.NoError(t, err)
	require.Equal(t, 2, changed.Version)
	_, err = put(t, db, c, s.Change)
	require.ErrorIs(t, err, org.ErrStale)
	var versions int
	require.NoError(t, db.QueryRow(t.Context(), `SELECT count(*) FROM commerce.contract_versions WHERE code = 'c-south'`).Scan(&versions))
	require.Equal(t, 2, versions)

	got, err := s.Get(t.Context(), db, auth.Scope{Org: "south", Stores: []string{"gz01", "sz01"}}, "c-south")
	require.NoError(t, err)
	require.Equal(t, changed, got)
	_, err = s.Get(t.Context(), db, auth.Scope{Org: "gz", Stores: []string{"gz01"}}, "c-south")
	require.ErrorIs(t, err, org.ErrNoContract)
	list, err := s.Find(t.Context(), db, auth.Scope{Org: "gz", Stores: []string{"gz01"}}, "", "", 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestContractsThatCannotBe(t *testing.T) {
	t.Parallel()
	db, s := contracts(t)
	_, err := put(t, db, contract("first", "south", "2026-01-01", "2027-01-01"), s.Sign)
	require.NoError(t, err)
	clearing := contract("clearing", "gz", "2026-01-01", "")
	clearing.Terms = org.Terms{Model: org.ModelExclusive, Performer: org.RoleFulfil, Collectors: []org.Tender{{Tender: "wechat", Collector: org.CollectorHQ}}}
	for path, c := range map[string]org.Contract{
		"partner":                       contract("x", "nowhere", "2026-01-01", ""),
		"valid_from":                    contract("x", "south", "2026-12-31", ""),
		"valid_to":                      contract("x", "gz", "2026-05-01", "2026-05-01"),
		"code":                          contract("Not A Code", "gz", "2026-05-01", ""),
		"terms.collectors[0].collector": clearing,
	} {
		_, err := put(t, db, c, s.Sign)
		require.NotEmpty(t, fault.From(err).Fields, "%s: %v", path, err)
		require.Equal(t, path, fault.From(err).Fields[0].Path)
	}
	clearing.Partner = "own"
	_, err = put(t, db, clearing, s.Sign)
	require.NoError(t, err, "a partner of HQ's own entity clears nothing for others")
	_, err = put(t, db, contract("second", "south", "2027-01-01", ""), s.Sign)
	require.NoError(t, err, "the first ends where it begins")
}

func TestTwoContractsOfAPartnerAreNotSignedAtOnce(t *testing.T) {
	t.Parallel()
	db, s := contracts(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			errs[i] = pg.InTx(context.Background(), db, func(tx pgx.Tx) error {
				_, err := s.Sign(context.Background(), tx, auth.System, contract("c"+string(rune('a'+i)), "south", "2026-01-01", ""))
				return err
			})
		})
	}
	wg.Wait()
	signed := 0
	for _, err := range errs {
		if err == nil {
			signed++
		} else {
			require.ErrorIs(t, err, org.ErrContract)
		}
	}
	require.Equal(t, 1, signed)
}
