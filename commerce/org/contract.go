package org

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/auth"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/fault"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/validate"
)

// Contract is what a partner and HQ agreed. It covers the partner's unit and everything below it.
type Contract struct {
	Code       string    `json:"code" validate:"code"`
	Version    int       `json:"version" doc:"of the contract as it was read; changing makes the next one"`
	Partner    string    `json:"partner" validate:"required,max=64" doc:"code of the partner's org unit"`
	Direction  Direction `json:"direction" enum:"capital,service,sales" doc:"资金型、服务型、销售型"`
	PriceLevel string    `json:"price_level" validate:"max=64"`
	Region     string    `json:"region" validate:"max=200"`
	DepositFen money.Fen `json:"deposit_fen"`
	ValidFrom  string    `json:"valid_from" validate:"datetime=2006-01-02" doc:"first day, like 2026-01-01"`
	ValidTo    string    `json:"valid_to" validate:"omitempty,datetime=2006-01-02" doc:"first day on which it is not valid any more; empty without end"`
	Terms      Terms     `json:"terms"`
}

// Validate returns ErrContract or ErrTerms naming every field that is wrong.
func (c Contract) Validate(sameEntity bool) error {
	if err := validate.Struct(c); err != nil {
		return err
	}
	var wrong []fault.Field
	bad := func(path, zh, en, hintZH, hintEN string) {
		wrong = append(wrong, fault.Field{Path: path, Code: "org.contract", Text: fault.Text{ZH: zh, EN: en}, Hint: fault.Text{ZH: hintZH, EN: hintEN}})
	}
	switch c.Direction {
	case DirectionCapital, DirectionService, DirectionSales:
	default:
		bad("direction", "未知的合作类型", "the direction is unknown", "可用:capital、service、sales", "one of capital, service, sales")
	}
	if c.DepositFen < 0 {
		bad("deposit_fen", "保证金不能为负", "a deposit is not negative", "请以分填写", "give it in fen")
	}
	if c.ValidTo != "" && c.ValidTo <= c.ValidFrom {
		bad("valid_to", "失效日期须晚于生效日期", "the contract ends before it begins", "请核对两个日期", "check both days")
	}
	if wrong != nil {
		return ErrContract.WithFields(wrong...)
	}
	return c.Terms.Validate(sameEntity)
}

// Contracts keeps the contracts.
type Contracts struct {
	db    pg.DB
	clock clock.Clock
}

// NewContracts returns the contracts of the installation; db is the pool of reads.
func NewContracts(db pg.DB, clk clock.Clock) *Contracts { return &Contracts{db: db, clock: clk} }

const selectContracts = `
SELECT c.code, c.version, c.partner, c.direction, c.price_level, c.region, c.deposit_fen, c.valid_from::text, coalesce(c.valid_to::text, ''), c.terms
FROM commerce.contracts c`

const findContracts = selectContracts + `
WHERE (@partner = '' OR c.partner = @partner) AND c.code > @after
  AND (@everything OR EXISTS (
      SELECT FROM commerce.org_units u WHERE u.code = c.partner AND u.path @> ARRAY[@org::text]))
ORDER BY c.code
LIMIT @limit`

// Find returns contracts in the order of their codes, of one partner or of all, within the scope: whoever sees the
// partner's unit sees its contract, and nobody below it does.
func (s *Contracts) Find(ctx context.Context, db pg.DB, scope auth.Scope, partner, after string, limit int) ([]Contract, error) {
	return s.list(ctx, db, findContracts, pg.Args{
		"partner": partner, "after": after, "limit": limit, "everything": scope.All, "org": scope.Org,
	})
}

const contractByCode = selectContracts + `
WHERE c.code = @code
  AND (@everything OR EXISTS (
      SELECT FROM commerce.org_units u WHERE u.code = c.partner AND u.path @> ARRAY[@org::text]))`

// Get returns a contract. It fails with ErrNoContract, also where it lies outside the scope.
func (s *Contracts) Get(ctx context.Context, db pg.DB, scope auth.Scope, code string) (Contract, error) {
	list, err := s.list(ctx, db, contractByCode, pg.Args{"code": code, "everything": scope.All, "org": scope.Org})
	if err == nil && len(list) == 0 {
		err = ErrNoContract.With("contract", code)
	}
	if err != nil {
		return Contract{}, err
	}
	return list[0], nil
}

// The deepest partner above the unit decides; with two contracts of one partner the newer.
const contractFor = selectContracts + `
JOIN commerce.org_units u ON u.code = @unit AND u.path @> ARRAY[c.partner]
WHERE c.valid_from <= @day::text::date AND (c.valid_to IS NULL OR c.valid_to > @day::text::date)
ORDER BY array_position(u.path, c.partner) DESC, c.valid_from DESC, c.code
LIMIT 1`

// For returns the contract that covers a unit at a time; ok is false where none does, as for stores of HQ's own.
func (s *Contracts) For(ctx context.Context, db pg.DB, unit string, at time.Time) (_ Contract, ok bool, err error) {
	list, err := s.list(ctx, db, contractFor, pg.Args{"unit": unit, "day": clock.DayOf(at).String()})
	if err != nil || len(list) == 0 {
		return Contract{}, false, err
	}
	return list[0], true, nil
}

func (s *Contracts) list(ctx context.Context, db pg.DB, sql string, args pg.Args) ([]Contract, error) {
	rows, err := db.Query(ctx, sql, args)
	if err != nil {
		return nil, fmt.Errorf("find contracts: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Contract, err error) {
		err = row.Scan(&c.Code, &c.Version, &c.Partner, &c.Direction, &c.PriceLevel, &c.Region, &c.DepositFen, &c.ValidFrom, &c.ValidTo, &c.Terms)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("find contracts: %w", err)
	}
	return out, nil
}

// The row of the partner is locked, so that two contracts of one partner are not signed at once.
const lockPartner = `
SELECT coalesce(u.entity = (SELECT h.entity FROM commerce.org_units h WHERE h.code = u.path[1]), false)
FROM commerce.org_units u
WHERE u.code = @partner
FOR NO KEY UPDATE`

const overlapping = `
SELECT code
FROM commerce.contracts
WHERE partner = @partner AND code <> @code
  AND daterange(valid_from, valid_to) && daterange(@from::text::date, nullif(@to::text, '')::date)
ORDER BY code
LIMIT 1`

const insertContract = `
INSERT INTO commerce.contracts (code, version, partner, direction, price_level, region, deposit_fen, valid_from, valid_to, terms, created_at, updated_at)
VALUES (@code, 1, @partner, @direction, @level, @region, @deposit, @from::text::date, nullif(@to::text, '')::date, @terms, @now, @now)`

const updateContract = `
UPDATE commerce.contracts
SET version = version + 1, partner = @partner, direction = @direction, price_level = @level, region = @region, deposit_fen = @deposit,
    valid_from = @from::text::date, valid_to = nullif(@to::text, '')::date, terms = @terms, updated_at = @now
WHERE code = @code AND version = @version`

const keepVersion = `
INSERT INTO commerce.contract_versions (code, version, contract, changed_by, changed_at)
VALUES (@code, @version, @contract, @by, @now)`

// Sign stores a new contract as version 1. It fails with ErrContract, ErrTerms or ErrContractExists.
func (s *Contracts) Sign(ctx context.Context, tx pgx.Tx, by auth.Actor, c Contract) (Contract, error) {
	c.Version = 1
	return c, s.put(ctx, tx, by, c, insertContract, pg.Args{})
}

// Change replaces a contract by its next version; c.Version is the one that was read. Orders that were paid keep theirs.
// It fails with ErrContract, ErrTerms, ErrNoContract or ErrStale.
func (s *Contracts) Change(ctx context.Context, tx pgx.Tx, by auth.Actor, c Contract) (Contract, error) {
	if _, err := s.Get(ctx, tx, auth.Everything, c.Code); err != nil {
		return Contract{}, err
	}
	read := c.Version
	c.Version++
	return c, s.put(ctx, tx, by, c, updateContract, pg.Args{"version": read})
}

func (s *Contracts) put(ctx context.Context, tx pgx.Tx, by auth.Actor, c Contract, sql string, args pg.Args) error {
	var sameEntity bool
	err := tx.QueryRow(ctx, lockPartner, pg.Args{"partner": c.Partner}).Scan(&sameEntity)
	if pg.NoRows(err) {
		return ErrContract.WithFields(fault.Field{
			Path: "partner", Code: "org.unknown_unit", Text: fault.Text{ZH: "没有此组织单元", EN: "there is no such org unit"},
			Hint: fault.Text{ZH: "请先建立该渠道商的组织单元", EN: "create the partner's org unit first"},
		})
	}
	if err != nil {
		return fmt.Errorf("lock partner %s: %w", c.Partner, err)
	}
	if err := c.Validate(sameEntity); err != nil {
		return err
	}
	var other string
	err = tx.QueryRow(ctx, overlapping, pg.Args{"partner": c.Partner, "code": c.Code, "from": c.ValidFrom, "to": c.ValidTo}).Scan(&other)
	if err == nil {
		return ErrContract.WithFields(fault.Field{
			Path: "valid_from", Code: "org.overlap",
			Text: fault.Text{ZH: "与合同 " + other + " 的有效期重叠", EN: "it is valid at the same time as contract " + other},
			Hint: fault.Text{ZH: "请先终止旧合同", EN: "end the other contract first"},
		})
	}
	if !pg.NoRows(err) {
		return fmt.Errorf("look for other contracts of %s: %w", c.Partner, err)
	}
	now := s.clock.Now()
	for k, v := range (pg.Args{
		"code": c.Code, "partner": c.Partner, "direction": c.Direction, "level": c.PriceLevel, "region": c.Region, "deposit": c.DepositFen,
		"from": c.ValidFrom, "to": c.ValidTo, "terms": c.Terms, "now": now,
	}) {
		args[k] = v
	}
	tag, err := tx.Exec(ctx, sql, args)
	if pg.Constraint(err) == "contracts_pkey" {
		return ErrContractExists.With("contract", c.Code)
	}
	if err != nil {
		return fmt.Errorf("store contract %s: %w", c.Code, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrStale
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode contract %s: %w", c.Code, err)
	}
	if _, err := tx.Exec(ctx, keepVersion, pg.Args{"code": c.Code, "version": c.Version, "contract": text, "by": by.Name, "now": now}); err != nil {
		return fmt.Errorf("keep version of contract %s: %w", c.Code, err)
	}
	return nil
}
