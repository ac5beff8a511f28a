package org_test

import (
	"encoding/csv"
	"errors"
	"os"
	"strings"
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
	"github.com/lianke/lianke/member"
)

var noon = time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)

func matrix(t *testing.T, db pg.DB) *org.Matrix {
	t.Helper()
	m, err := org.NewMatrix(db, clock.NewVirtual(noon))
	require.NoError(t, err)
	return m
}

func setCell(t *testing.T, tx pgx.Tx, m *org.Matrix, c org.Cell) {
	t.Helper()
	_, err := m.Set(t.Context(), tx, auth.System, c)
	require.NoError(t, err)
	m.Changed()
}

// The table of the study, as its author drew it: S does it itself, P within another's rules, H hands over, - not at all.
const study = `
web              SS-SSSSSSSSS
tmall            SSPSPSSSPPPS
jd               SSPSPSSSPPPS
wechat           SSSSSSSSSSSS
miniprogram      SSSSSSSSSSSS
weibo            SSPSPHH----S
distributor_shop -P-S-SSSPPP-
pos              SS-SSSSSSSSS
app              SSSSSSSSSSSS
call_centre      --P-SHSHSSSS
guide            -SSSSSSHSSPS
live             SS-SPSPPPPPS
b2b              -S---SSSSSSS
`

func TestEveryDefaultCell(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	m := matrix(t, tx)
	marks := map[byte]org.Offering{'S': org.OfferingSelf, 'P': org.OfferingPlatform, 'H': org.OfferingHandOver, '-': org.OfferingNone}
	lines := strings.Split(strings.TrimSpace(study), "\n")
	for _, line := range lines {
		f := strings.Fields(line)
		require.Len(t, f[1], len(org.Services))
		for i, s := range org.Services {
			c, err := m.Offer(t.Context(), tx, org.Place{Touchpoint: member.Touchpoint(f[0])}, s.Service, noon)
			require.Equal(t, marks[f[1][i]], c.Mode, "%s %s", f[0], s.Service)
			require.Equal(t, c.Mode.Done(), err == nil, "%s %s", f[0], s.Service)
			if err != nil {
				require.Equal(t, fault.Precondition, fault.KindOf(err))
				require.NotContains(t, err.Error(), "{")
				require.NotContains(t, fault.From(err).Text.ZH, "{")
			}
		}
	}
	all, err := m.Cells(t.Context(), tx, org.Place{}, noon)
	require.NoError(t, err)
	require.Len(t, all, len(lines)*len(org.Services))

	file, err := os.ReadFile("data/services.csv")
	require.NoError(t, err)
	rows, err := csv.NewReader(strings.NewReader(string(file))).ReadAll()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, r := range rows[1:] {
		known[r[0]] = true
	}
	for _, r := range rows[1:] {
		for near := range strings.SplitSeq(r[4], "|") {
			require.True(t, known[near] && near != r[0], "%s is near to %s", r[0], near)
		}
	}
	for _, touchpoint := range member.Touchpoints() {
		require.True(t, known[touchpoint], touchpoint)
	}
}

func TestTheMostSpecificCellWins(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	_, err := org.Ensure(t.Context(), tx, []string{"HZ01", "HZ02"}, org.KindStore, noon)
	require.NoError(t, err)
	m := matrix(t, tx)
	cell := func(account, store string, mode org.Offering, from time.Time) org.Cell {
		c := org.Cell{Touchpoint: "pos", Account: account, Store: store, Service: org.ServiceCheckout, Mode: mode, ValidFrom: from}
		if mode == org.OfferingHandOver {
			c.HandoverTo = "miniprogram"
		}
		return c
	}
	offer := func(account, store string, at time.Time) org.Offering {
		c, _ := m.Offer(t.Context(), tx, org.Place{Touchpoint: "pos", Account: account, Store: store}, org.ServiceCheckout, at)
		return c.Mode
	}
	require.Equal(t, org.OfferingSelf, offer("till", "HZ01", noon))
	setCell(t, tx, m, cell("", "", org.OfferingNone, noon.Add(-2*time.Hour)))
	require.Equal(t, org.OfferingNone, offer("till", "HZ01", noon))
	setCell(t, tx, m, cell("till", "", org.OfferingPlatform, noon.Add(-3*time.Hour)))
	require.Equal(t, org.OfferingPlatform, offer("till", "HZ01", noon), "account over touchpoint, although older")
	setCell(t, tx, m, cell("", "HZ01", org.OfferingHandOver, noon.Add(-4*time.Hour)))
	require.Equal(t, org.OfferingHandOver, offer("till", "HZ01", noon), "store over account")
	setCell(t, tx, m, cell("till", "HZ01", org.OfferingSelf, noon.Add(-4*time.Hour)))
	require.Equal(t, org.OfferingSelf, offer("till", "HZ01", noon), "account in store over store")
	require.Equal(t, org.OfferingHandOver, offer("other", "HZ01", noon))
	require.Equal(t, org.OfferingPlatform, offer("till", "HZ02", noon))
	require.Equal(t, org.OfferingNone, offer("", "HZ02", noon))
	require.Equal(t, org.OfferingSelf, offer("", "HZ02", noon.Add(-3*time.Hour)), "not valid yet")
	setCell(t, tx, m, cell("", "", org.OfferingSelf, noon.Add(time.Hour)))
	require.Equal(t, org.OfferingNone, offer("", "HZ02", noon), "a change that lies ahead")
	require.Equal(t, org.OfferingSelf, offer("", "HZ02", noon.Add(time.Hour)))
}

func TestARefusalNamesTheNearest(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	m := matrix(t, tx)
	refusal := func(touchpoint member.Touchpoint, s org.Service) *fault.Error {
		_, err := m.Offer(t.Context(), tx, org.Place{Touchpoint: touchpoint}, s, noon)
		require.Error(t, err)
		return fault.From(err)
	}
	f := refusal("weibo", org.ServiceCheckout)
	require.ErrorIs(t, f, org.ErrNotOffered)
	require.Equal(t, fault.Text{ZH: "微博不提供结算服务,请到小程序", EN: "Weibo does not offer checkout; mini program does"}, f.Text)
	f = refusal("call_centre", org.ServiceCheckout)
	require.ErrorIs(t, f, org.ErrHandedOver)
	require.Equal(t, "呼叫中心将结算服务转交小程序", f.Text.ZH)
	require.Contains(t, refusal("douyin", org.ServiceCheckout).Text.ZH, "douyin不提供结算服务,请到官网商城")

	setCell(t, tx, m, org.Cell{Touchpoint: "miniprogram", Service: org.ServiceCheckout, Mode: org.OfferingNone})
	require.Contains(t, refusal("weibo", org.ServiceCheckout).Text.EN, "WeChat official account does")
	where, err := m.Where(t.Context(), tx, org.Place{Touchpoint: "weibo"}, org.ServiceCheckout, noon)
	require.NoError(t, err)
	require.Equal(t, []member.Touchpoint{"wechat", "web", "app", "pos", "tmall", "jd", "distributor_shop", "live", "b2b"}, where)
	all, err := m.Cells(t.Context(), tx, org.Place{}, noon)
	require.NoError(t, err)
	for _, c := range all {
		if c.Service == org.ServiceCheckout {
			setCell(t, tx, m, org.Cell{Touchpoint: c.Touchpoint, Service: c.Service, Mode: org.OfferingNone})
		}
	}
	require.ErrorIs(t, refusal("weibo", org.ServiceCheckout), org.ErrOfferedNowhere)
}

func TestCellsThatAreWrongAreRefused(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	m := matrix(t, tx)
	for path, c := range map[string]org.Cell{
		"service":     {Touchpoint: "pos", Service: "haircut", Mode: org.OfferingSelf},
		"mode":        {Touchpoint: "pos", Service: org.ServicePush, Mode: "perhaps"},
		"handover_to": {Touchpoint: "pos", Service: org.ServicePush, Mode: org.OfferingHandOver, HandoverTo: "pos"},
		"params":      {Touchpoint: "pos", Service: org.ServicePush, Mode: org.OfferingSelf, Params: map[string]any{"a": strings.Repeat("x", 5000)}},
		"store":       {Touchpoint: "pos", Store: "nowhere", Service: org.ServicePush, Mode: org.OfferingSelf},
	} {
		_, err := m.Set(t.Context(), tx, auth.System, c)
		require.ErrorIs(t, err, org.ErrCell, path)
		var f *fault.Error
		require.True(t, errors.As(err, &f))
		require.Equal(t, path, f.Fields[0].Path)
	}
}

// Readers go on while cells change; whoever changed one sees it at once.
func TestAChangeIsSeenAtOnceWhileOthersRead(t *testing.T) {
	t.Parallel()
	db := pgtest.DB(t)
	m := matrix(t, db)
	place := org.Place{Touchpoint: "pos"}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := m.Offer(t.Context(), db, place, org.ServiceCheckout, noon)
				if err != nil && !errors.Is(err, org.ErrNotOffered) {
					t.Errorf("offer: %v", err)
					return
				}
				if c.Mode != org.OfferingSelf && c.Mode != org.OfferingNone {
					t.Errorf("mode %q", c.Mode)
					return
				}
			}
		})
	}
	for i := range 40 {
		mode := []org.Offering{org.OfferingNone, org.OfferingSelf}[i%2]
		require.NoError(t, pg.InTx(t.Context(), db, func(tx pgx.Tx) error {
			_, err := m.Set(t.Context(), tx, auth.System, org.Cell{Touchpoint: "pos", Service: org.ServiceCheckout, Mode: mode})
			return err
		}))
		m.Changed()
		for range 3 {
			c, _ := m.Offer(t.Context(), db, place, org.ServiceCheckout, noon)
			require.Equal(t, mode, c.Mode)
		}
	}
	close(stop)
	readers.Wait()
}

func TestOtherProcessesFollowWithinSeconds(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	clk := clock.NewVirtual(noon)
	here, err := org.NewMatrix(tx, clk)
	require.NoError(t, err)
	there := matrix(t, tx)
	_, err = here.Offer(t.Context(), tx, org.Place{Touchpoint: "pos"}, org.ServiceCheckout, noon)
	require.NoError(t, err)
	setCell(t, tx, there, org.Cell{Touchpoint: "pos", Service: org.ServiceCheckout, Mode: org.OfferingNone})
	_, err = here.Offer(t.Context(), tx, org.Place{Touchpoint: "pos"}, org.ServiceCheckout, noon)
	require.NoError(t, err, "still from memory")
	clk.Advance(5 * time.Second)
	_, err = here.Offer(t.Context(), tx, org.Place{Touchpoint: "pos"}, org.ServiceCheckout, noon)
	require.ErrorIs(t, err, org.ErrNotOffered)
}

func TestBoughtAndReturned(t *testing.T) {
	t.Parallel()
	db, s := contracts(t)
	m := matrix(t, db)
	may := func(bought member.Touchpoint, seller, at string) string {
		by, err := m.MayReturn(t.Context(), db, org.Return{Bought: org.Place{Touchpoint: bought, Store: seller}, At: at}, noon)
		if err != nil {
			return fault.From(err).Code
		}
		return string(by)
	}
	require.Equal(t, "hq", may("miniprogram", "", "hz01"))
	require.Equal(t, "org.no_return", may("miniprogram", "", "gz01"), "no contract")
	c := contract("c-south", "south", "2026-01-01", "")
	c, err := put(t, db, c, s.Sign)
	require.NoError(t, err)
	require.Equal(t, "org.no_return", may("miniprogram", "", "gz01"), "the contract says nothing")
	c.Terms.TakesReturns = true
	_, err = put(t, db, c, s.Change)
	require.NoError(t, err)
	require.Equal(t, "hq", may("miniprogram", "", "gz01"))
	require.Equal(t, "hq", may("pos", "hz01", "gz01"))
	require.Equal(t, "platform", may("tmall", "", "hz01"))
	require.Equal(t, "platform", may("jd", "", "gz01"))
	require.Equal(t, "seller", may("distributor_shop", "south", "sz01"))
	require.Equal(t, "org.no_return", may("distributor_shop", "south", "gz01"), "another partner under it")
	require.Equal(t, "org.no_return", may("distributor_shop", "south", "hz01"))
	require.Equal(t, "seller", may("pos", "gz01", "gz01"))
	require.Equal(t, "org.no_return", may("pos", "gz01", "hz01"))
	require.Equal(t, "org.no_return", may("douyin", "", "hz01"))
	require.Equal(t, "org.no_receiver", may("web", "", "nowhere"))
}
