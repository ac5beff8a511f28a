package payment

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
)

// CardBook is the book of stored value in the ledger, in fen.
const CardBook = "stored_value"

const (
	accountFunded  = "funded"  // what members paid for principal, negative
	accountGranted = "granted" // what was given as bonus, negative
	accountHeld    = "held"
	accountSpent   = "spent"
)

func principalOf(card string) string { return card + ":principal" }
func bonusOf(card string) string     { return card + ":bonus" }

// Card is a stored-value card with what is on it.
type Card struct {
	Card         string       `json:"card"`
	Birth        member.Birth `json:"birth,string"`
	Issuer       string       `json:"issuer" doc:"entity that owes its value"`
	Status       string       `json:"status" enum:"active,frozen,closed"`
	PrincipalFen money.Fen    `json:"principal_fen"`
	BonusFen     money.Fen    `json:"bonus_fen"`
}

// Take splits an amount over principal and bonus pro rata to what is there; the principal bears the rounding. It reports
// false if there is not enough.
func (c Card) Take(amount money.Fen) (principal, bonus money.Fen, ok bool) {
	if amount < 0 || amount > c.PrincipalFen+c.BonusFen {
		return 0, 0, false
	}
	if amount == 0 {
		return 0, 0, true
	}
	parts, err := money.Split(amount, []int64{int64(c.PrincipalFen), int64(c.BonusFen)})
	if err != nil {
		return 0, 0, false
	}
	return parts[0], parts[1], true
}

const insertCardSQL = `
INSERT INTO commerce.cards (card, birth, issuer, status, opened_at)
VALUES (@card, @birth, @issuer, 'active', @now)`

// OpenCard issues a card to a birth. It fails with ErrCardExists.
func (s *Service) OpenCard(ctx context.Context, tx pgx.Tx, card string, birth member.Birth, issuer string) error {
	if !validCard(card) || issuer == "" {
		return invalid("card", "卡号须为 4 到 32 位字母、数字或 -,并须有发卡主体", "a card has 4 to 32 letters, digits or -, and an issuer")
	}
	now := s.clock.Now()
	err := pg.InTx(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, insertCardSQL, pg.Args{"card": card, "birth": birth, "issuer": issuer, "now": now})
		return err
	})
	if pg.Constraint(err) == "cards_pkey" {
		return ErrCardExists.With("card", card)
	}
	if err != nil {
		return fmt.Errorf("open card: %w", err)
	}
	hot := func(code string) ledger.Account { return ledger.Account{Code: code, Lane: ledger.LaneHot} }
	purse := func(code string) ledger.Account {
		return ledger.Account{Code: code, Lane: ledger.LaneSpread, Floor: ledger.Zero()}
	}
	return s.ledger.Open(ctx, tx, CardBook, "fen", now, hot(accountFunded), hot(accountGranted), hot(accountHeld), hot(accountSpent),
		purse(principalOf(card)), purse(bonusOf(card)))
}

func validCard(card string) bool {
	if len(card) < 4 || len(card) > 32 {
		return false
	}
	for _, c := range card {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}

// LoadCard puts principal and bonus on a card, once per key.
func (s *Service) LoadCard(ctx context.Context, tx pgx.Tx, key id.UUID, card string, principal, bonus money.Fen, at time.Time) error {
	if principal < 0 || bonus < 0 || principal+bonus == 0 {
		return invalid("principal_fen", "充值金额须为正数", "what is loaded is positive")
	}
	c, err := s.GetCard(ctx, tx, card)
	if err != nil {
		return err
	}
	if c.Status != "active" {
		return ErrCardState.With("card", card, "state", c.Status)
	}
	x := ledger.Transaction{Key: key, Book: CardBook, Kind: "card.load", Ref: card, At: at}
	x.Postings = pairs(x.Postings, accountFunded, principalOf(card), principal)
	x.Postings = pairs(x.Postings, accountGranted, bonusOf(card), bonus)
	_, err = s.ledger.Post(ctx, tx, []ledger.Transaction{x})
	return err
}

func pairs(to []ledger.Posting, from, into string, amount money.Fen) []ledger.Posting {
	if amount == 0 {
		return to
	}
	return append(to, ledger.Posting{Account: from, Amount: -int64(amount)}, ledger.Posting{Account: into, Amount: int64(amount)})
}

const cardSQL = `
SELECT c.card, c.birth, c.issuer, c.status, p.balance AS principal_fen, b.balance AS bonus_fen
FROM commerce.cards c
JOIN core.ledger_accounts pa ON pa.book = 'stored_value' AND pa.code = c.card || ':principal'
JOIN core.ledger_balances p ON p.account_id = pa.id
JOIN core.ledger_accounts ba ON ba.book = 'stored_value' AND ba.code = c.card || ':bonus'
JOIN core.ledger_balances b ON b.account_id = ba.id
WHERE c.card = @card`

// Orders of one member wait for each other at the member's row before they come here.
const lockCardSQL = cardSQL + `
FOR NO KEY UPDATE OF b, p`

// GetCard returns a card, or ErrNoCard.
func (s *Service) GetCard(ctx context.Context, db pg.DB, card string) (Card, error) {
	rows, err := db.Query(ctx, cardSQL, pg.Args{"card": card})
	if err != nil {
		return Card{}, fmt.Errorf("read card: %w", err)
	}
	c, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Card])
	if pg.NoRows(err) {
		return Card{}, ErrNoCard.With("card", card)
	}
	if err != nil {
		return Card{}, fmt.Errorf("read card: %w", err)
	}
	return c, nil
}

// QueueCard locks a card by a statement of the caller's batch into c, which stays nil if there is none.
func QueueCard(b *pgx.Batch, card string, c **Card) {
	b.Queue(lockCardSQL, pg.Args{"card": card}).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Card])
		if len(all) == 1 {
			*c = &all[0]
		}
		return err
	})
}

const insertHoldSQL = `
INSERT INTO commerce.card_holds (order_no, card, principal_fen, bonus_fen, state, at)
VALUES (@order_no, @card, @principal, @bonus, 'held', @at)`

// QueueCardHold takes principal and bonus off a locked card for an order, by statements of the caller's batch.
func (s *Service) QueueCardHold(b *pgx.Batch, orderNo string, c Card, principal, bonus money.Fen, at time.Time) error {
	x := ledger.Transaction{Key: id.Derived("card.hold", orderNo, c.Card), Book: CardBook, Kind: "card.hold", Ref: orderNo, At: at}
	x.Postings = pairs(x.Postings, principalOf(c.Card), accountHeld, principal)
	x.Postings = pairs(x.Postings, bonusOf(c.Card), accountHeld, bonus)
	b.Queue(insertHoldSQL, pg.Args{"order_no": orderNo, "card": c.Card, "principal": principal, "bonus": bonus, "at": at})
	return s.ledger.Queue(b, x)
}

const endHoldsSQL = `
UPDATE commerce.card_holds
SET state = @state, at = @at
WHERE order_no = @order_no AND state = 'held'
RETURNING card, principal_fen, bonus_fen`

// CaptureCards makes what an order holds of cards spent; ReleaseCards gives it back. Either changes nothing the second time.
func (s *Service) CaptureCards(ctx context.Context, tx pgx.Tx, orderNo string, at time.Time) error {
	return s.endHolds(ctx, tx, orderNo, "captured", at)
}

// ReleaseCards gives back what an order holds of cards.
func (s *Service) ReleaseCards(ctx context.Context, tx pgx.Tx, orderNo string, at time.Time) error {
	return s.endHolds(ctx, tx, orderNo, "released", at)
}

func (s *Service) endHolds(ctx context.Context, tx pgx.Tx, orderNo, state string, at time.Time) error {
	rows, err := tx.Query(ctx, endHoldsSQL, pg.Args{"order_no": orderNo, "state": state, "at": at})
	if err != nil {
		return fmt.Errorf("end card holds of order %s: %w", orderNo, err)
	}
	var all []ledger.Transaction
	var card string
	var principal, bonus money.Fen
	_, err = pgx.ForEachRow(rows, []any{&card, &principal, &bonus}, func() error {
		x := ledger.Transaction{Key: id.Derived("card."+state, orderNo, card), Book: CardBook, Kind: "card." + state, Ref: orderNo, At: at}
		if state == "captured" {
			x.Postings = pairs(x.Postings, accountHeld, accountSpent, principal+bonus)
		} else {
			x.Postings = pairs(x.Postings, accountHeld, principalOf(card), principal)
			x.Postings = pairs(x.Postings, accountHeld, bonusOf(card), bonus)
		}
		all = append(all, x)
		return nil
	})
	if err != nil {
		return fmt.Errorf("end card holds of order %s: %w", orderNo, err)
	}
	if len(all) == 0 {
		return nil
	}
	_, err = s.ledger.Post(ctx, tx, all)
	return err
}

// RefundCard gives back to a card what an order had spent of it, once per key.
func (s *Service) RefundCard(ctx context.Context, tx pgx.Tx, key id.UUID, card, orderNo string, principal, bonus money.Fen, at time.Time) error {
	x := ledger.Transaction{Key: key, Book: CardBook, Kind: "card.refund", Ref: orderNo + "/" + strconv.FormatInt(int64(principal+bonus), 10), At: at}
	x.Postings = pairs(x.Postings, accountSpent, principalOf(card), principal)
	x.Postings = pairs(x.Postings, accountSpent, bonusOf(card), bonus)
	if len(x.Postings) == 0 {
		return nil
	}
	_, err := s.ledger.Post(ctx, tx, []ledger.Transaction{x})
	return err
}
