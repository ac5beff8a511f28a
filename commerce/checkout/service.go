package checkout

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lianke/lianke/commerce/cart"
	"github.com/lianke/lianke/commerce/coupon"
	"github.com/lianke/lianke/commerce/inventory"
	"github.com/lianke/lianke/commerce/order"
	"github.com/lianke/lianke/commerce/org"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/crypt"
	"github.com/lianke/lianke/internal/events"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/member"
	"github.com/lianke/lianke/member/activity"
	"github.com/lianke/lianke/member/identity"
	"github.com/lianke/lianke/member/points"
)

// Freezer says under which contract, roles and rates an order is settled; the answer is frozen with the payment.
type Freezer interface {
	Freeze(ctx context.Context, tx pgx.Tx, o order.Order) (json.RawMessage, error)
}

// Modules are what checkout orchestrates.
type Modules struct {
	Orders     *order.Service
	Carts      *cart.Service
	Coupons    *coupon.Service
	Points     *points.Service
	Payments   *payment.Service
	Ledger     *ledger.Ledger
	Log        *activity.Log
	Bus        *events.Bus
	Graph      *identity.Service
	Secrets    *member.Secrets
	Ring       *crypt.Ring
	Stock      *inventory.Service
	Promotions Promotions // nil: coupons only
	Freezer    Freezer    // nil: seller and collector alone are frozen

	Touchpoints Touchpoints // nil: every touchpoint checks out
}

// Touchpoints says whether a service is done at a place.
type Touchpoints interface {
	Offer(ctx context.Context, db pg.DB, at org.Place, s org.Service, when time.Time) (org.Cell, error)
}

// offered checks that the touchpoint checks out, and that the store hands over what is to be picked up there.
func (s *Service) offered(ctx context.Context, b Basket) error {
	if s.touchpoints == nil {
		return nil
	}
	now := s.clock.Now()
	if _, err := s.touchpoints.Offer(ctx, s.db, org.Place{Touchpoint: b.Touchpoint, Store: b.Store}, org.ServiceCheckout, now); err != nil || b.Pickup == "" {
		return err
	}
	_, err := s.touchpoints.Offer(ctx, s.db, org.Place{Touchpoint: member.TouchpointPOS, Store: b.Pickup}, org.ServiceDeliveryPickup, now)
	return err
}

// Service quotes, places, pays and ends orders.
type Service struct {
	db         pg.DB
	clock      clock.Clock
	orders     *order.Service
	carts      *cart.Service
	coupons    *coupon.Service
	points     *points.Service
	payments   *payment.Service
	ledger     *ledger.Ledger
	log        *activity.Log
	bus        *events.Bus
	graph      *identity.Service
	secrets    *member.Secrets
	ring       *crypt.Ring
	stock      *inventory.Service
	promotions Promotions
	freezer    Freezer

	touchpoints Touchpoints

	mu    sync.Mutex
	terms map[termsKey]knownTerms
}

type termsKey struct {
	touchpoint member.Touchpoint
	store      string
}

type knownTerms struct {
	terms SellingTerms
	until time.Time
}

// New returns the service and tells payments whom to tell of money that arrives.
func New(db pg.DB, clk clock.Clock, m Modules) *Service {
	if m.Promotions == nil {
		m.Promotions = couponsOnly{}
	}
	s := &Service{
		db: db, clock: clk, orders: m.Orders, carts: m.Carts, coupons: m.Coupons, points: m.Points, payments: m.Payments, ledger: m.Ledger,
		log: m.Log, bus: m.Bus, graph: m.Graph, secrets: m.Secrets, ring: m.Ring, stock: m.Stock, promotions: m.Promotions, freezer: m.Freezer,
		touchpoints: m.Touchpoints,
		terms:       map[termsKey]knownTerms{},
	}
	m.Payments.Attach(s)
	return s
}

const (
	defaultPayTime = 30 * time.Minute
	// closeAfter and holdAfter are how long after an order's time to pay it is closed, and its stock runs out by itself: a
	// callback on its way at the last second still finds both.
	closeAfter  = time.Minute
	holdAfter   = 10 * time.Minute
	termsMemory = 5 * time.Second
)

// sellingTerms returns the terms of a touchpoint and store from memory, or reads them.
func (s *Service) sellingTerms(ctx context.Context, db pg.DB, touchpoint member.Touchpoint, store string) (*SellingTerms, error) {
	key, now := termsKey{touchpoint, store}, s.clock.Now()
	s.mu.Lock()
	known, ok := s.terms[key]
	s.mu.Unlock()
	if ok && now.Before(known.until) {
		return &known.terms, nil
	}
	var t *SellingTerms
	var b pgx.Batch
	queueTerms(&b, touchpoint, store, &t)
	if err := db.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("read selling terms: %w", err)
	}
	if t == nil {
		return nil, ErrNoTerms.With("touchpoint", touchpoint)
	}
	s.mu.Lock()
	if len(s.terms) > 10_000 {
		clear(s.terms)
	}
	s.terms[key] = knownTerms{*t, now.Add(termsMemory)}
	s.mu.Unlock()
	return t, nil
}

func (s *Service) forgetTerms() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.terms)
}

var numberAlphabet = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// newNumber makes an order number: the day in Shanghai and 60 random bits, 18 characters that a provider takes as its own.
func newNumber(now time.Time) string {
	raw := id.New()
	return now.In(clock.Shanghai).Format("060102") + numberAlphabet.EncodeToString(raw[8:])[1:]
}
