// Package bus is billing's side of NATS: purchase requests in, answers out, and
// what auth says of users.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	"lavka/libs/service/telemetry"
	"lavka/services/billing/internal/billing"
)

// GroupMax is how many items billing settles at once.
const GroupMax = 512

// maxReason bounds what is kept of an error's text, in bytes.
const maxReason = 1 << 10

// unreadableExpiry is when a request that can't be read expires, after it was
// first seen.
const unreadableExpiry = 15 * time.Minute

// The delays before a message is delivered again.
const (
	againHeld  = 250 * time.Millisecond // somebody holds the bill
	againError = time.Second            // the database did not answer
)

// Rejects keeps messages that can't be understood or stored.
type Rejects interface {
	RecordRejected(ctx context.Context, purchaseID *uuid.UUID, body []byte, reason string) (firstAt time.Time, err error)
}

// Purchases answers purchase requests.
type Purchases struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	settler *billing.Settler
	rejects Rejects
	copies  int // of the stream
	log     *slog.Logger

	outcomes *prometheus.CounterVec
	rejected prometheus.Counter

	slots chan struct{} // one for each request in hand, so that webhooks find room
}

// storeLimit bounds each call of the store, which has no request's limit here.
const storeLimit = 10 * time.Second

// NewPurchases makes Purchases; Run starts the listening. The stream has as many copies, each on a server of its own.
func NewPurchases(nc *nats.Conn, js jetstream.JetStream, settler *billing.Settler, rejects Rejects, copies int, log *slog.Logger, registry prometheus.Registerer) *Purchases {
	p := &Purchases{
		nc: nc, js: js, settler: settler, rejects: rejects, copies: copies, log: log,
		slots: make(chan struct{}, 2*GroupMax),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "billing_charges_total", Help: "Decisions on purchases by outcome, repeats included.",
		}, []string{"outcome"}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "billing_rejected_messages_total", Help: "Purchase requests that could not be understood or stored.",
		}),
	}
	for _, o := range []billing.Outcome{billing.Settled, billing.InsufficientFunds, billing.BillNotFound, billing.BuyerDisabled, billing.Expired} {
		p.outcomes.WithLabelValues(string(o)) // a rate needs a zero to begin from
	}
	registry.MustRegister(p.outcomes, p.rejected)
	return p
}

// Run takes requests until ctx ends. Close, after the settler's, waits until
// those that it had taken are answered.
func (p *Purchases) Run(ctx context.Context) {
	natsconn.Listener{
		Name: "purchase requests", Log: p.log, Ahead: 2 * GroupMax / wire.MaxGroup, Open: p.open,
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			p.handle(ctx, msg)
			return nil
		},
	}.Run(ctx)
}

// Close returns when every request that was taken has been answered.
func (p *Purchases) Close() {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
}

// Ensure makes the stream and its consumer, or brings them up to date.
func (p *Purchases) Ensure(ctx context.Context) error {
	_, err := p.open(ctx)
	return err
}

func (p *Purchases) open(ctx context.Context) (jetstream.Consumer, error) {
	_, err := p.js.CreateOrUpdateStream(ctx, streams.Purchases(p.copies))
	if err != nil {
		return nil, fmt.Errorf("make stream %s: %w", wire.StreamPurchases, err)
	}
	consumer, err := p.js.CreateOrUpdateConsumer(ctx, wire.StreamPurchases, streams.PurchasesConsumer())
	if err != nil {
		return nil, fmt.Errorf("make consumer %s: %w", wire.ConsumerPurchases, err)
	}
	return consumer, nil
}

func (p *Purchases) handle(ctx context.Context, msg jetstream.Msg) {
	requests, err := read(msg.Data())
	if err != nil {
		d := p.take(ctx, msg, make([]wire.PurchaseRequested, 1))
		go d.keep(err) // that asks the database, and the good requests behind it must not wait
		return
	}
	d := p.take(ctx, msg, requests)
	for i, m := range requests {
		ctx := d.parts[i].ctx
		telemetry.Note(ctx, slog.String("purchase_id", m.PurchaseID.String()), slog.Int64("bill_id", m.BillID), slog.Int64("user_id", m.UserID))
		d.charge(i, billing.ChargeRequest{
			PurchaseID: m.PurchaseID, UserID: m.UserID, BillID: m.BillID,
			Amount: money.Amount(m.Amount), ExpiresAt: m.ExpiresAt,
		})
	}
}

func read(data []byte) ([]wire.PurchaseRequested, error) {
	requests, err := wire.DecodePurchaseRequested(data)
	if err == nil && slices.ContainsFunc(requests, func(m wire.PurchaseRequested) bool { return money.Amount(m.Amount) > money.Max }) {
		err = errors.New("read purchase request: amount is beyond the limit")
	}
	return requests, err
}

// record keeps a request and why, and tells its purchase id, if there is one,
// and since when it has been coming.
func (p *Purchases) record(ctx context.Context, body []byte, cause error) (*uuid.UUID, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	reason := cause.Error()
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	p.log.WarnContext(ctx, "a purchase request can't be understood or stored; it is kept", "reason", reason)
	p.rejected.Inc()
	var id *uuid.UUID
	if found, ok := wire.PurchaseID(body); ok {
		id = &found
	}
	firstAt, err := p.rejects.RecordRejected(ctx, id, body, reason)
	return id, firstAt, err
}

// repeated marks a request that was decided before, and where that was.
func repeated(ctx context.Context, c *billing.Charge) {
	telemetry.Note(ctx, slog.Bool("repeat", true))
	decided := trace.SpanContextFromContext(telemetry.WithTraceparent(context.Background(), c.Trace))
	if decided.IsValid() {
		trace.SpanFromContext(ctx).AddLink(trace.Link{SpanContext: decided})
	}
}

// deliveries is how often a message has come, this time included.
func deliveries(msg jetstream.Msg) uint64 {
	meta, err := msg.Metadata()
	if err != nil {
		return 0 // not a consumer's message
	}
	return meta.NumDelivered
}

// answer is what catalog is told of a decision.
func answer(c *billing.Charge) wire.PurchaseAnswered {
	m := wire.PurchaseAnswered{V: wire.Version, PurchaseID: c.PurchaseID, Outcome: wire.Declined, TransactionID: c.TransactionID}
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
	}
	return m
}
