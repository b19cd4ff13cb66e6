// Package bus is billing's NATS adapter: it receives requests about purchases and
// refunds, sends the answers, and receives auth's messages about users.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/domain/money"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/serving"
	"lavka/libs/service/telemetry"
	"lavka/services/billing/internal/billing"
)

// GroupMax is the maximum number of items billing settles in one transaction.
const GroupMax = 512

// maxReason is the maximum length of a recorded error text, in bytes.
const maxReason = 1 << 10

// unreadableExpiry is how long after it was first seen an unreadable request
// expires.
const unreadableExpiry = 15 * time.Minute

// The delays before a message is redelivered.
const (
	againHeld   = 250 * time.Millisecond // a bill is locked
	againError  = time.Second            // the outcome is unknown
	againClosed = 5 * time.Second        // refunds are not open yet
)

// Rejects records messages that can't be parsed or stored.
type Rejects interface {
	// RecordRejected records a message and returns when it was first seen.
	RecordRejected(ctx context.Context, purchaseID *uuid.UUID, body []byte, reason string) (firstAt time.Time, err error)
}

// Purchases receives requests about purchases and refunds, and answers them.
type Purchases struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	settler     *billing.Settler
	rejects     Rejects
	refundsOpen func() error // an error while refunds must not be written
	copies      int          // replicas of the stream
	log         *slog.Logger

	outcomes *prometheus.CounterVec
	refunds  *prometheus.CounterVec
	rejected prometheus.Counter

	opened     chan struct{} // closed when the stream has been opened
	openedOnce sync.Once
	failure    serving.Failure

	slots chan struct{} // one for each request in progress; the limit leaves room in the queue for webhooks
}

// storeLimit is the time limit for each call of the store. There is no request
// here whose deadline could limit it.
const storeLimit = 10 * time.Second

// NewPurchases returns Purchases; Run starts receiving. While refundsOpen returns an
// error, requests of refunds are given back to NATS. Copies is the number of replicas
// of the stream, each on a server of its own.
func NewPurchases(nc *nats.Conn, js jetstream.JetStream, settler *billing.Settler, rejects Rejects, refundsOpen func() error, copies int, log *slog.Logger, registry prometheus.Registerer) *Purchases {
	p := &Purchases{
		nc: nc, js: js, settler: settler, rejects: rejects, refundsOpen: refundsOpen, copies: copies, log: log,
		opened: make(chan struct{}), slots: make(chan struct{}, 2*GroupMax),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_charges_total", Help: "Decisions on purchases by outcome, including repeats.",
		}, []string{"outcome"}),
		refunds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_refunds_total", Help: "Decisions on refunds by outcome, including repeats.",
		}, []string{"outcome"}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "billing_rejected_messages_total", Help: "Requests of purchases and refunds that could not be parsed or stored.",
		}),
	}
	for _, o := range []billing.Outcome{billing.Settled, billing.InsufficientFunds, billing.BillNotFound, billing.BuyerDisabled, billing.Expired} {
		p.outcomes.WithLabelValues(string(o)) // so that rate() has a zero to start from
	}
	for _, o := range billing.RefundOutcomes() {
		p.refunds.WithLabelValues(string(o))
	}
	registry.MustRegister(p.outcomes, p.refunds, p.rejected)
	return p
}

// Run receives requests until ctx is cancelled. To wait until the accepted
// requests are answered, close the settler and then call Close.
func (p *Purchases) Run(ctx context.Context) {
	natsconn.Listener{
		Name: "purchase requests", Log: p.log, Ahead: 2 * GroupMax / wire.MaxGroup, Open: p.open, Failed: p.failure.Set,
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			p.handle(ctx, msg)
			return nil
		},
	}.Run(ctx)
}

// Close returns once every accepted request has been answered.
func (p *Purchases) Close() {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
}

// Ensure creates the stream and its consumer, or updates them.
func (p *Purchases) Ensure(ctx context.Context) error {
	_, err := p.open(ctx)
	return err
}

func (p *Purchases) open(ctx context.Context) (jetstream.Consumer, error) {
	_, err := p.js.CreateOrUpdateStream(ctx, streams.Purchases(p.copies))
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", wire.StreamPurchases, err)
	}
	consumer, err := p.js.CreateOrUpdateConsumer(ctx, wire.StreamPurchases, streams.PurchasesConsumer())
	if err != nil {
		return nil, fmt.Errorf("create consumer %s: %w", wire.ConsumerPurchases, err)
	}
	p.openedOnce.Do(func() { close(p.opened) })
	return consumer, nil
}

// Opened returns a channel that is closed when the stream and its consumer have been
// there once.
func (p *Purchases) Opened() <-chan struct{} { return p.opened }

// Failure returns why the stream could not be opened at the last attempt, or nil.
func (p *Purchases) Failure() error { return natsconn.Because(p.nc, p.failure.Last()) }

func (p *Purchases) handle(ctx context.Context, msg jetstream.Msg) {
	purchases, err := read(msg.Data())
	switch {
	case err == nil:
		p.charge(ctx, msg, purchases)
		return
	case wire.AboutRefunds(msg.Data()):
		if closed := p.refundsOpen(); closed != nil {
			p.giveBack(ctx, msg, closed)
			return
		}
		var refunds []wire.RefundRequested
		if refunds, err = readRefunds(msg.Data()); err == nil {
			p.refund(ctx, msg, refunds)
			return
		}
	}
	d := p.take(ctx, msg, make([]request, 1))
	go d.reject(err) // it writes to the database, and the valid requests behind it must not wait
}

func (p *Purchases) charge(ctx context.Context, msg jetstream.Msg, purchases []wire.PurchaseRequested) {
	requests := make([]request, len(purchases))
	for i, m := range purchases {
		requests[i] = request{m, m.Traceparent}
	}
	d := p.take(ctx, msg, requests)
	for i, m := range purchases {
		ctx := d.parts[i].ctx
		telemetry.Note(ctx, slog.String("purchase_id", m.PurchaseID.String()), slog.Int64("bill_id", m.BillID), slog.Int64("user_id", m.UserID))
		d.charge(i, billing.ChargeRequest{
			PurchaseID: m.PurchaseID, UserID: m.UserID, BillID: m.BillID,
			Amount: money.Amount(m.Amount), ExpiresAt: m.ExpiresAt,
		})
	}
}

func (p *Purchases) refund(ctx context.Context, msg jetstream.Msg, refunds []wire.RefundRequested) {
	requests := make([]request, len(refunds))
	for i, m := range refunds {
		requests[i] = request{m, m.Traceparent}
	}
	d := p.take(ctx, msg, requests)
	for i, m := range refunds {
		telemetry.Note(d.parts[i].ctx, slog.String("refund_id", m.RefundID.String()), slog.String("purchase_id", m.OfPurchase.String()), slog.Int64("bill_id", m.Bill), slog.Int64("user_id", m.Payer))
		d.refund(i, billing.RefundRequest{
			RefundID: m.RefundID, PurchaseID: m.OfPurchase, UserID: m.Payer, BillID: m.Bill, Amount: money.Amount(m.Minor), Force: m.Force,
		})
	}
}

// giveBack returns a message to NATS whose kind is not open yet. NATS redelivers it,
// and after a minute catalog sends it again.
func (p *Purchases) giveBack(ctx context.Context, msg jetstream.Msg, closed error) {
	p.log.WarnContext(ctx, "a refund was requested, and the upgrade is not complete; it will be redelivered", "error", closed)
	if err := msg.NakWithDelay(againClosed); err != nil {
		p.log.WarnContext(ctx, "can't give a refund back to NATS; it will be redelivered or retried", "error", err)
	}
}

func read(data []byte) ([]wire.PurchaseRequested, error) {
	requests, err := wire.DecodePurchaseRequested(data)
	if err == nil && slices.ContainsFunc(requests, func(m wire.PurchaseRequested) bool { return money.Amount(m.Amount) > money.Max }) {
		err = errors.New("read purchase request: amount exceeds the limit")
	}
	return requests, err
}

func readRefunds(data []byte) ([]wire.RefundRequested, error) {
	requests, err := wire.DecodeRefundRequested(data)
	if err == nil && slices.ContainsFunc(requests, func(m wire.RefundRequested) bool { return money.Amount(m.Minor) > money.Max }) {
		err = errors.New("read refund request: minor exceeds the limit")
	}
	return requests, err
}

// record records a request and the reason for rejecting it. It returns the
// purchase id, nil if it can't be read, and when the request was first seen.
func (p *Purchases) record(ctx context.Context, body []byte, cause error) (*uuid.UUID, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	reason := cause.Error()
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	p.log.WarnContext(ctx, "a request can't be parsed or stored; recording it", "reason", reason)
	p.rejected.Inc()
	var id *uuid.UUID
	if found, ok := wire.PurchaseID(body); ok {
		id = &found
	}
	firstAt, err := p.rejects.RecordRejected(ctx, id, body, reason)
	return id, firstAt, err
}

// repeated notes that a request was decided before, and links its span to the
// trace of that decision.
func repeated(ctx context.Context, traceparent string) {
	telemetry.Note(ctx, slog.Bool("repeat", true))
	decided := trace.SpanContextFromContext(telemetry.WithTraceparent(context.Background(), traceparent))
	if decided.IsValid() {
		trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: decided})
	}
}

// deliveries returns how often a message was delivered, including this time, or
// 0 if unknown.
func deliveries(msg jetstream.Msg) uint64 {
	meta, err := msg.Metadata()
	if err != nil {
		return 0 // not delivered by a consumer
	}
	return meta.NumDelivered
}

// answer converts a decision to the message that catalog receives.
func answer(c *billing.Charge, traceparent string) wire.PurchaseAnswered {
	m := wire.PurchaseAnswered{
		V: wire.Version, PurchaseID: c.Request.PurchaseID, Outcome: wire.Declined, TransactionID: c.TransactionID, Traceparent: traceparent,
	}
	if c.Balance != nil {
		balance := int64(*c.Balance)
		m.Balance = &balance
	}
	switch c.Outcome {
	case billing.Settled:
		m.Outcome = wire.Settled
	case billing.InsufficientFunds:
		m.Reason = wire.InsufficientFunds
	case billing.BillNotFound:
		m.Reason = wire.BillNotFound
	case billing.BuyerDisabled:
		m.Reason = wire.BuyerDisabled
	case billing.Expired:
		m.Reason = wire.Expired
	default:
		m.Outcome = string(c.Outcome) // catalog refuses the answer, and the purchase stays pending
	}
	return m
}

// refundAnswer is answer for a refund.
func refundAnswer(d *billing.RefundDecision, traceparent string) wire.RefundAnswered {
	m := wire.RefundAnswered{
		V: wire.VersionRefund, RefundID: d.Request.RefundID, Outcome: wire.Declined, TransactionID: d.TransactionID(), Traceparent: traceparent,
	}
	if d.Refundable != nil {
		refundable := int64(*d.Refundable)
		m.Refundable = &refundable
	}
	switch d.Outcome {
	case billing.Refunded:
		m.Outcome = wire.Refunded
	case billing.RefundExceeds:
		m.Reason = wire.RefundExceeds
	case billing.BalanceLimit:
		m.Reason = wire.BalanceLimit
	case billing.ChargeNotFound:
		m.Reason = wire.ChargeNotFound
	case billing.BillOwes:
		m.Reason = wire.BillOwes
	default:
		m.Outcome = string(d.Outcome) // catalog refuses the answer, and the refund stays pending
	}
	return m
}
