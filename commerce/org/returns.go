package org

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"time"

	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/pg"
)

// RefundBy is who pays a member back.
type RefundBy string

// Who pays back.
const (
	RefundByHQ       RefundBy = "hq"       // to the original tenders; the receiving store only takes the goods or acts for HQ
	RefundByPlatform RefundBy = "platform" // through the platform's after-sale process, never in cash
	RefundBySeller   RefundBy = "seller"   // the partner that sold
)

// Return is a return somebody asks for.
type Return struct {
	Bought Place  // where it was bought; Store is the unit that sold, "" for HQ's own
	At     string // the store or warehouse that would receive it
}

// The second matrix: by who stands behind the touchpoint something was bought at, and who receives it.
//
//go:embed data/returns.csv
var returnsCSV []byte

// returnRules are the answers of returns.csv by class of sale, then by receiver.
type returnRules map[string]map[string]string

func parseReturns(file []byte) (returnRules, error) {
	lines, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the matrix of returns: %w", err)
	}
	out := returnRules{}
	for _, line := range lines[1:] {
		out[line[0]] = map[string]string{}
		for i, answer := range line[1:] {
			if !slices.Contains([]string{"yes", "contract", "goods_only", "no"}, answer) {
				return nil, fmt.Errorf("matrix of returns: %s cannot answer %q", line[0], answer)
			}
			out[line[0]][lines[0][i+1]] = answer
		}
	}
	return out, nil
}

// The partner is the nearest above the unit that is not of HQ's own legal entity; its contract is the nearest that is valid.
const selectReceivers = `
SELECT u.code, coalesce(p.code, ''), coalesce(c.takes_returns, false)
FROM commerce.org_units u
JOIN commerce.org_units root ON root.code = u.path[1]
LEFT JOIN LATERAL (
    SELECT a.code
    FROM commerce.org_units a
    WHERE a.code = ANY (u.path) AND a.kind = 'partner' AND (a.entity IS NULL OR a.entity IS DISTINCT FROM root.entity)
    ORDER BY array_position(u.path, a.code) DESC
    LIMIT 1
) p ON true
LEFT JOIN LATERAL (
    SELECT (k.terms ->> 'takes_returns')::boolean AS takes_returns
    FROM commerce.contracts k
    WHERE k.partner = ANY (u.path) AND k.valid_from <= @day::text::date AND (k.valid_to IS NULL OR k.valid_to > @day::text::date)
    ORDER BY array_position(u.path, k.partner) DESC, k.valid_from DESC, k.code
    LIMIT 1
) c ON true
WHERE u.code = ANY (@units::text[])`

type receiver struct {
	code, partner string
	takesReturns  bool
}

// MayReturn says who refunds something that is brought back to a place. It fails with ErrNoReturn, whose text says who takes
// it, or with ErrNoReceiver if the receiving unit is unknown.
func (m *Matrix) MayReturn(ctx context.Context, db pg.DB, r Return, when time.Time) (RefundBy, error) {
	rows, err := db.Query(ctx, selectReceivers, pg.Args{"units": distinct([]string{r.Bought.Store, r.At}), "day": clock.DayOf(when).String()})
	if err != nil {
		return "", fmt.Errorf("find who takes returns: %w", err)
	}
	defer rows.Close()
	units := map[string]receiver{}
	for rows.Next() {
		var u receiver
		if err := rows.Scan(&u.code, &u.partner, &u.takesReturns); err != nil {
			return "", fmt.Errorf("find who takes returns: %w", err)
		}
		units[u.code] = u
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("find who takes returns: %w", err)
	}
	at, known := units[r.At]
	if !known {
		return "", ErrNoReceiver.With("store", r.At)
	}
	return m.mayReturn(r, units[r.Bought.Store], at)
}

func (m *Matrix) mayReturn(r Return, seller, at receiver) (RefundBy, error) {
	class := "partner" // of touchpoints the house does not know, only the seller takes back
	if t := m.defaults.by[r.Bought.Touchpoint]; t != nil {
		class = t.class
	}
	// A partner's own till is the partner's sale; its members' orders in HQ's channels are HQ's.
	if r.Bought.Touchpoint == "pos" && seller.partner != "" {
		class = "partner"
	}
	to := "own_store"
	switch {
	case r.Bought.Store != "" && (at.code == r.Bought.Store || at.partner != "" && at.partner == seller.partner):
		to = "its_seller"
	case at.partner != "":
		to = "partner_store"
	}
	refuse := func(whoZH, whoEN string) error {
		return ErrNoReturn.With("bought", m.defaults.name(r.Bought.Touchpoint), "store", r.At, "who", fault.Text{ZH: whoZH, EN: whoEN})
	}
	switch m.returns[class][to] {
	case "goods_only":
		return RefundByPlatform, nil
	case "contract":
		if !at.takesReturns {
			return "", refuse("总部直营门店", "HQ's own stores")
		}
		return RefundByHQ, nil
	case "yes":
		if class == "partner" || class == "distributor" {
			return RefundBySeller, nil
		}
		return RefundByHQ, nil
	default:
		return "", refuse("原销售方", "whoever sold it")
	}
}
