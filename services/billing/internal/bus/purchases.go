// Package bus is billing's side of NATS: purchase requests in, answers out, and
// what auth says of users.
package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/money"
	"lavka/libs/natsconn"
	"lavka/libs/wire"
	"lavka/services/billing/internal/billing"
)

// GroupMax is how many items billing settles at once.
const GroupMax = 512

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
	log     *slog.Logger
	tracer  trace.Tracer
	slots   chan struct{} // one for each message in hand, so that webhooks find room
}

// NewPurchases makes Purchases; Run starts the listening.
func NewPurchases(nc *nats.Conn, js jetstream.JetStream, settler *billing.Settler, rejects Rejects, log *slog.Logger) *Purchases {
	return &Purchases{
		nc: nc, js: js, settler: settler, rejects: rejects, log: log,
		tracer: otel.Tracer("lavka/services/billing/internal/bus"),
		slots:  make(chan struct{}, 2*GroupMax),
	}
}

// Run answers requests until ctx ends, and those that it had taken by then.
func (p *Purchases) Run(ctx context.Context) error {
	return natsconn.Listener{
		Name: "purchase requests", Log: p.log, Ahead: 2 * GroupMax, Open: p.open,
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			p.handle(natsconn.Extract(ctx, msg.Headers()), msg)
			return nil
		},
	}.Run(ctx)
}

// Ensure makes the stream and its consumer, or brings them up to date. Memory
// is enough: every request can be sent again from catalog's row. There is no
// duplicate window to speak of, since a request sent again must be delivered.
func (p *Purchases) Ensure(ctx context.Context) error {
	_, err := p.open(ctx)
	return err
}

func (p *Purchases) open(ctx context.Context) (jetstream.Consumer, error) {
	_, err := p.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        wire.StreamPurchases,
		Description: "purchase requests, from catalog to billing",
		Subjects:    []string{wire.SubjectRequested},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.MemoryStorage,
		MaxAge:      time.Minute,
		MaxBytes:    256 << 20,
		Discard:     jetstream.DiscardNew,
	})
	if err != nil {
		return nil, fmt.Errorf("make stream %s: %w", wire.StreamPurchases, err)
	}
	consumer, err := p.js.CreateOrUpdateConsumer(ctx, wire.StreamPurchases, jetstream.ConsumerConfig{
		Durable:       wire.ConsumerPurchases,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       5 * time.Second,
		MaxAckPending: 20_000,
		MaxDeliver:    -1,
	})
	if err != nil {
		return nil, fmt.Errorf("make consumer %s: %w", wire.ConsumerPurchases, err)
	}
	return consumer, nil
}

func (p *Purchases) handle(ctx context.Context, msg jetstream.Msg) {
	ctx, span := p.tracer.Start(ctx, "process "+wire.SubjectRequested, trace.WithSpanKind(trace.SpanKindConsumer))
	p.slots <- struct{}{}
	finish := func(r billing.Result) {
		p.answer(ctx, msg, r)
		<-p.slots
		span.End()
	}
	request, err := p.read(ctx, msg)
	if err != nil {
		finish(billing.Result{Err: err})
		return
	}
	if request == nil { // nobody can be answered
		finish(billing.Result{Undecided: true})
		return
	}
	if err := p.settler.Charge(*request, finish); err != nil {
		finish(billing.Result{Err: err})
	}
}

// read reads a request. One that can't be understood is kept; it is nil unless
// its purchase id can be read, so that it can be answered or expire.
func (p *Purchases) read(ctx context.Context, msg jetstream.Msg) (*billing.ChargeRequest, error) {
	m, err := wire.DecodePurchaseRequested(msg.Data())
	if err == nil && money.Amount(m.Amount) <= money.Max {
		return &billing.ChargeRequest{
			PurchaseID: m.PurchaseID, UserID: m.UserID, BillID: m.BillID,
			Amount: money.Amount(m.Amount), ExpiresAt: m.ExpiresAt,
		}, nil
	}
	reason := "amount is beyond the limit"
	if err != nil {
		reason = err.Error()
	}
	p.log.WarnContext(ctx, "a purchase request can't be understood; it is kept", "reason", reason)
	id, found := wire.PurchaseID(msg.Data())
	if !found {
		_, err = p.rejects.RecordRejected(ctx, nil, msg.Data(), reason)
		return nil, err
	}
	firstAt, err := p.rejects.RecordRejected(ctx, &id, msg.Data(), reason)
	if err != nil {
		return nil, err
	}
	return &billing.ChargeRequest{PurchaseID: id, ExpiresAt: firstAt.Add(unreadableExpiry), Unreadable: true}, nil
}

// answer tells catalog, and only then tells NATS that the message is done.
func (p *Purchases) answer(ctx context.Context, msg jetstream.Msg, r billing.Result) {
	var err error
	switch {
	case r.Charge != nil:
		if err = p.reply(ctx, msg, r.Charge); err == nil {
			err = msg.Ack()
		}
	case r.Held:
		err = msg.NakWithDelay(againHeld)
	case r.Undecided:
		err = msg.TermWithReason("kept in billing.rejected_messages")
	case r.Poison != nil:
		err = p.reject(ctx, msg, r.Poison)
	default:
		p.log.WarnContext(ctx, "a purchase request could not be settled; it comes again", "error", r.Err)
		err = msg.NakWithDelay(againError)
	}
	if err != nil {
		// NATS delivers it again, or catalog sends it again.
		p.log.WarnContext(ctx, "a purchase request could not be finished; it comes again", "error", err)
	}
}

// reject keeps a request that the database refuses and never tries it again.
func (p *Purchases) reject(ctx context.Context, msg jetstream.Msg, cause error) error {
	p.log.ErrorContext(ctx, "a purchase request can't be stored; it is kept", "error", cause)
	var id *uuid.UUID
	if found, ok := wire.PurchaseID(msg.Data()); ok {
		id = &found
	}
	if _, err := p.rejects.RecordRejected(ctx, id, msg.Data(), cause.Error()); err != nil {
		return fmt.Errorf("keep rejected message: %w", err)
	}
	return msg.TermWithReason("kept in billing.rejected_messages")
}

func (p *Purchases) reply(ctx context.Context, msg jetstream.Msg, c *billing.Charge) error {
	to := msg.Headers().Get(wire.HeaderReply)
	if !strings.HasPrefix(to, wire.SubjectAnswered+".") {
		return nil // nobody waits; a request sent again says where to
	}
	data, err := wire.Encode(answer(c))
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	out := &nats.Msg{Subject: to, Data: data, Header: nats.Header{}}
	natsconn.Inject(ctx, out.Header)
	return p.nc.PublishMsg(out)
}

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
