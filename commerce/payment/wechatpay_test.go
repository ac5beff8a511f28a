package payment_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lianke/lianke/channels/sandbox"
	"github.com/lianke/lianke/channels/sandbox/sandboxtest"
	"github.com/lianke/lianke/commerce/payment"
	"github.com/lianke/lianke/internal/clock"
	"github.com/lianke/lianke/internal/id"
	"github.com/lianke/lianke/internal/ledger"
	"github.com/lianke/lianke/internal/money"
	"github.com/lianke/lianke/internal/pg"
	"github.com/lianke/lianke/internal/pg/pgtest"
)

// till is the service in front of the stand-in of WeChat Pay, with orders that accept what comes until they are told not to.
type till struct {
	*payment.Service
	t       *testing.T
	db      *pg.Pool
	sandbox *sandboxtest.Shared
	address string

	mu      sync.Mutex
	verdict payment.Verdict
	arrived []string
}

func (o *till) Arrived(_ context.Context, _ pgx.Tx, p payment.Payment, _ time.Time) (payment.Verdict, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrived = append(o.arrived, p.OrderNo)
	return o.verdict, nil
}

var merchantKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func openTill(t *testing.T) *till {
	t.Helper()
	o := &till{t: t, db: pgtest.DB(t), sandbox: sandboxtest.Own(t, sandbox.Options{}), verdict: payment.Accepted}
	key := merchantKey()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	const apiKey = "0123456789abcdef0123456789abcdef"
	platform, err := o.sandbox.AddPayMerchant(sandbox.PayMerchant{
		MchID: "1900000001", AppID: "wx-shop", Serial: "SERIAL1", APIv3Key: apiKey,
		PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	o.address = server.URL
	pay, err := payment.NewWeChatPay(o.sandbox.Client, o.sandbox.Clock, []payment.Merchant{{
		Account: "main", MchID: "1900000001", AppID: "wx-shop", Serial: "SERIAL1", APIv3Key: apiKey, PlatformID: sandbox.PayPlatformID, PlatformKey: platform,
		PrivateKey: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), NotifyURL: server.URL + "/callbacks/wechatpay",
	}})
	require.NoError(t, err)
	o.Service = payment.NewService(o.db, o.sandbox.Clock, slog.New(slog.DiscardHandler), pay, ledger.New())
	o.Attach(o)
	mux.Handle("POST /callbacks/wechatpay/{account}", o.Callback(pay))
	return o
}

// due makes an order's payment.
func (o *till) due(orderNo string, amount money.Fen) {
	o.t.Helper()
	require.NoError(o.t, pg.InTx(o.t.Context(), o.db, func(tx pgx.Tx) error {
		var b pgx.Batch
		now := o.sandbox.Clock.Now()
		payment.QueueCreate(&b, payment.New(orderNo, 1, "main", amount, now, now.Add(30*time.Minute)))
		return tx.SendBatch(o.t.Context(), &b).Close()
	}))
}

func (o *till) prepare(orderNo string) {
	o.t.Helper()
	i, err := o.Prepare(o.t.Context(), orderNo, "知更集订单", "openid-1")
	require.NoError(o.t, err)
	require.NotEmpty(o.t, i.PaySign)
	require.Contains(o.t, i.Package, "prepay_id=wx")
}

func (o *till) payment(orderNo string) payment.Payment {
	o.t.Helper()
	all, err := o.OfOrder(o.t.Context(), o.db, orderNo)
	require.NoError(o.t, err)
	require.Len(o.t, all, 1)
	return all[0]
}

func TestPaidByCallback(t *testing.T) {
	t.Parallel()
	o := openTill(t)
	ctx := t.Context()
	o.due("261111AAAA", 35_700)
	o.prepare("261111AAAA")
	o.prepare("261111AAAA") // again, for another device
	o.sandbox.Inject(sandbox.Fault{Route: "callback 1900000001", Kind: sandbox.FaultDuplicate, Times: 1})
	require.NoError(t, o.sandbox.Pay("261111AAAA"))
	require.Equal(t, 2, o.sandbox.Pump(ctx))
	p := o.payment("261111AAAA")
	require.Equal(t, payment.StatePaid, p.State)
	require.EqualValues(t, 35_700, p.ReceivedFen)
	require.Equal(t, []string{"261111AAAA"}, o.arrived, "told once")
	_, err := o.Prepare(ctx, "261111AAAA", "x", "y")
	require.ErrorIs(t, err, payment.ErrState)

	// Acknowledgements that get lost make the provider say it again.
	o.due("261111BBBB", 100)
	o.prepare("261111BBBB")
	o.sandbox.Inject(sandbox.Fault{Route: "callback 1900000001", Kind: sandbox.FaultSwallowAck, Times: 1})
	require.NoError(t, o.sandbox.Pay("261111BBBB"))
	o.sandbox.Pump(ctx)
	o.sandbox.Clock.Advance(20 * time.Second)
	require.Equal(t, 1, o.sandbox.Pump(ctx))
	require.Len(t, o.arrived, 2)
}

// asked counts how often the provider is asked for a prepay id; the calls that a test does not expect panic.
type asked struct {
	payment.Gateway
	ids []string
}

func (g *asked) Prepay(context.Context, payment.Payment, string, string) (string, error) {
	g.ids = append(g.ids, fmt.Sprint("wx", len(g.ids)))
	return g.ids[len(g.ids)-1], nil
}

func (g *asked) Invoke(_, prepayID string, _ time.Time) (payment.Invocation, error) {
	return payment.Invocation{Package: prepayID}, nil
}

// A prepay id is used again while the provider knows it, and asked for anew before it does not.
func TestPrepayIsAskedForAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := pgtest.Tx(t)
	clk := clock.NewVirtual(time.Date(2026, 11, 11, 4, 0, 0, 0, time.UTC))
	g := &asked{}
	s := payment.NewService(db, clk, slog.New(slog.DiscardHandler), g, ledger.New())
	var b pgx.Batch
	payment.QueueCreate(&b, payment.New("261111DDDD", 1, "main", 100, clk.Now(), clk.Now().Add(24*time.Hour)))
	require.NoError(t, db.SendBatch(ctx, &b).Close())
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{0, "wx0"}, {99 * time.Minute, "wx0"}, {time.Minute, "wx1"}, {99 * time.Minute, "wx1"}, {3 * time.Hour, "wx2"}} {
		clk.Advance(c.after)
		i, err := s.Prepare(ctx, "261111DDDD", "order", "openid-1")
		require.NoError(t, err)
		require.Equal(t, c.want, i.Package)
	}
}

func TestCallbacksThatAreNotBelieved(t *testing.T) {
	t.Parallel()
	o := openTill(t)
	ctx := t.Context()
	o.due("261111CCCC", 35_700)
	o.prepare("261111CCCC")
	for _, flaw := range []sandbox.Flaw{sandbox.FlawSignature, sandbox.FlawSerial, sandbox.FlawStale, sandbox.FlawBody, sandbox.FlawKey} {
		status, err := o.sandbox.Notify(ctx, "261111CCCC", flaw)
		require.NoError(t, err, flaw)
		require.Equal(t, http.StatusUnauthorized, status, flaw)
		require.Equal(t, payment.StatePrepared, o.payment("261111CCCC").State, flaw)
	}
	for body, header := range map[string]string{"{}": "", `{"id":"x"}`: "1", "": "x"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.address+"/callbacks/wechatpay/main", bytes.NewReader([]byte(body)))
		require.NoError(t, err)
		r.Header.Set("Wechatpay-Timestamp", header)
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	}
	var notices int
	require.NoError(t, o.db.QueryRow(ctx, `SELECT count(*) FROM commerce.payment_notices`).Scan(&notices))
	require.Zero(t, notices)
	require.Empty(t, o.arrived)

	// Authentic, but about nothing that was asked for.
	status, err := o.sandbox.Notify(ctx, "261111CCCC", sandbox.FlawUnknown)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, status)
	status, err = o.sandbox.Notify(ctx, "261111CCCC", sandbox.FlawAmount)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, status)
	require.Equal(t, payment.StateMismatched, o.payment("261111CCCC").State)
	require.Empty(t, o.arrived)
	rows, err := o.db.Query(ctx, `SELECT outcome FROM commerce.payment_notices ORDER BY outcome`)
	require.NoError(t, err)
	outcomes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"unknown", "wrong_amount"}, outcomes)
	due, err := o.Refunds(ctx, o.db, "261111CCCC")
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.EqualValues(t, 35_699, due[0].AmountFen)
}

func TestCallbackBeforeTheAnswerToPrepay(t *testing.T) {
	t.Parallel()
	o := openTill(t)
	ctx := t.Context()
	o.due("261111DDDD", 500)
	// The answer to prepay is lost after the provider has done its work; the member pays from the other device.
	o.sandbox.Inject(sandbox.Fault{Route: "/v3/pay/transactions/jsapi", Kind: sandbox.FaultAcceptThenTimeout, Times: 1})
	_, err := o.Prepare(ctx, "261111DDDD", "x", "openid-1")
	require.ErrorIs(t, err, payment.ErrProvider)
	require.Equal(t, payment.StateCreated, o.payment("261111DDDD").State)
	require.NoError(t, o.sandbox.Pay("261111DDDD"))
	o.sandbox.Pump(ctx)
	require.Equal(t, payment.StatePaid, o.payment("261111DDDD").State)
}

func TestLostCallbackIsFoundByAsking(t *testing.T) {
	t.Parallel()
	o := openTill(t)
	ctx := t.Context()
	o.due("261111EEEE", 500)
	o.prepare("261111EEEE")
	o.due("261111FFFF", 700)
	o.prepare("261111FFFF")
	require.NoError(t, o.sandbox.Pay("261111EEEE")) // and the callback is never delivered
	require.NoError(t, o.Reconcile(ctx))
	require.Equal(t, payment.StatePrepared, o.payment("261111EEEE").State, "not asked yet")
	o.sandbox.Clock.Advance(3 * time.Minute)
	require.NoError(t, o.Reconcile(ctx))
	require.Equal(t, payment.StatePaid, o.payment("261111EEEE").State)
	require.Equal(t, payment.StatePrepared, o.payment("261111FFFF").State)

	// The order of the other ends: the provider closes it, and then nobody can pay it.
	require.NoError(t, pg.InTx(ctx, o.db, func(tx pgx.Tx) error { return o.Abandon(ctx, tx, "261111FFFF") }))
	o.sandbox.Clock.Advance(3 * time.Minute)
	require.NoError(t, o.Reconcile(ctx))
	require.Equal(t, payment.StateClosed, o.payment("261111FFFF").State)
	require.Error(t, o.sandbox.Pay("261111FFFF"))
}

func TestRefundsUntilDone(t *testing.T) {
	t.Parallel()
	o := openTill(t)
	ctx := t.Context()
	o.due("261111GGGG", 1_000)
	o.prepare("261111GGGG")
	o.verdict = payment.Late
	require.NoError(t, o.sandbox.Pay("261111GGGG"))
	o.sandbox.Pump(ctx)
	require.Zero(t, o.sandbox.Refunded("261111GGGG"), "due, not yet asked")
	// The provider does it and the answer is lost; then it answers with an error; then it is asked again under the same name.
	for _, kind := range []sandbox.FaultKind{sandbox.FaultAcceptThenTimeout, sandbox.FaultTruncate} {
		o.sandbox.Inject(sandbox.Fault{Route: "/v3/refund/domestic/refunds", Kind: kind, Times: 1})
		require.Error(t, o.RunRefunds(ctx))
		o.sandbox.ClearFaults()
		o.sandbox.Clock.Advance(2 * time.Hour)
	}
	require.NoError(t, o.RunRefunds(ctx))
	require.NoError(t, o.RunRefunds(ctx))
	require.EqualValues(t, 1_000, o.sandbox.Refunded("261111GGGG"), "once")
	all, err := o.Refunds(ctx, o.db, "261111GGGG")
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, payment.RefundDone, all[0].State)
	require.Equal(t, 3, all[0].Attempts)

	o.verdict = payment.Accepted
	o.due("261111HHHH", 1_000)
	o.prepare("261111HHHH")
	require.NoError(t, o.sandbox.Pay("261111HHHH"))
	o.sandbox.Pump(ctx)
	back := func(key id.UUID, amount money.Fen) error {
		return pg.InTx(ctx, o.db, func(tx pgx.Tx) error { return o.GiveBack(ctx, tx, key, "261111HHHH", amount, "returned") })
	}
	first := id.New()
	require.NoError(t, back(first, 300))
	require.NoError(t, back(first, 300), "the same again")
	require.ErrorIs(t, back(first, 301), payment.ErrKeyReused)
	require.ErrorIs(t, back(id.New(), 701), payment.ErrExceeds)
	require.NoError(t, back(id.New(), 700))
	require.NoError(t, o.RunRefunds(ctx))
	require.EqualValues(t, 1_000, o.sandbox.Refunded("261111HHHH"))
}

func FuzzCallback(f *testing.F) {
	key := merchantKey()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(f, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(f, err)
	pay, err := payment.NewWeChatPay(nil, fixed{}, []payment.Merchant{{
		Account: "main", MchID: "1", AppID: "wx", Serial: "S", APIv3Key: "0123456789abcdef0123456789abcdef", PlatformID: "P",
		PlatformKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		PrivateKey:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}})
	require.NoError(f, err)
	f.Add("1794369600", "P", "AAAA", []byte(`{"id":"1"}`))
	f.Fuzz(func(t *testing.T, stamp, serial, signature string, body []byte) {
		h := http.Header{"Wechatpay-Timestamp": {stamp}, "Wechatpay-Serial": {serial}, "Wechatpay-Signature": {signature}, "Wechatpay-Nonce": {"n"}}
		_, _, err := pay.Notice("main", h, body)
		require.ErrorIs(t, err, payment.ErrNotice)
	})
}

type fixed struct{}

func (fixed) Now() time.Time { return time.Unix(1794369600, 0).UTC() }
