// Package bus is billing's side of NATS: purchase requests in, answers out, and
// what auth says of users.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"lavka/libs/money"
	"lavka/libs/natsconn"
	"lavka/libs/natstrace"
	"lavka/libs/telemetry"
	"lavka/libs/wire"
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

	slots chan struct{} // one for each message in hand, so that webhooks find room
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
func (p *Purchases) Run(ctx context.Context) error {
	return natsconn.Listener{
		Name: "purchase requests", Log: p.log, Ahead: 2 * GroupMax, Open: p.open,
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

// Ensure makes the stream and its consumer, or brings them up to date. Memory
// is enough: every request can be sent again from catalog's row. Nobody gives a
// Nats-Msg-Id, or a request sent again would be taken for a double.
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
		Replicas:    p.copies,
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
	ctx, processing := natstrace.Process(ctx, wire.SubjectRequested, msg.Headers(), msg.Data(), deliveries(msg))
	p.slots <- struct{}{}
	finish := func(r billing.Result) {
		defer func() { <-p.slots }()
		defer processing.End(ctx, p.log, slog.LevelInfo)
		p.answer(ctx, msg, r, processing)
	}
	charge := func(r billing.ChargeRequest) {
		err := p.settler.Charge(ctx, r, func(r billing.Result) {
			if r.Poison != nil { // that asks the database, and a group must not wait for it
				go finish(r)
				return
			}
			finish(r)
		})
		if err != nil {
			finish(billing.Result{Err: err})
		}
	}
	request, err := read(msg.Data())
	if err == nil {
		request.Trace = telemetry.Traceparent(ctx)
		telemetry.Note(ctx, slog.String("purchase_id", request.PurchaseID.String()), slog.Int64("bill_id", request.BillID), slog.Int64("user_id", request.UserID))
		charge(request)
		return
	}
	go func() { // nor may the good requests behind it
		expiring, err := p.keep(ctx, msg, err)
		switch {
		case err != nil:
			finish(billing.Result{Err: err})
		case expiring == nil: // there is nobody to answer
			finish(billing.Result{Undecided: true})
		default:
			charge(*expiring)
		}
	}()
}

func read(data []byte) (billing.ChargeRequest, error) {
	m, err := wire.DecodePurchaseRequested(data)
	if err == nil && money.Amount(m.Amount) > money.Max {
		err = errors.New("read purchase request: amount is beyond the limit")
	}
	return billing.ChargeRequest{
		PurchaseID: m.PurchaseID, UserID: m.UserID, BillID: m.BillID,
		Amount: money.Amount(m.Amount), ExpiresAt: m.ExpiresAt,
	}, err
}

// keep keeps a request that can't be understood. Where its purchase id can be
// read, it can still be answered, or expire.
func (p *Purchases) keep(ctx context.Context, msg jetstream.Msg, cause error) (*billing.ChargeRequest, error) {
	id, firstAt, err := p.record(ctx, msg, cause)
	if err != nil || id == nil {
		return nil, err
	}
	telemetry.Note(ctx, slog.String("purchase_id", id.String()))
	return &billing.ChargeRequest{PurchaseID: *id, ExpiresAt: firstAt.Add(unreadableExpiry), Unreadable: true, Trace: telemetry.Traceparent(ctx)}, nil
}

// record keeps a request and why, and tells its purchase id, if there is one,
// and since when it has been coming.
func (p *Purchases) record(ctx context.Context, msg jetstream.Msg, cause error) (*uuid.UUID, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	reason := cause.Error()
	reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	p.log.WarnContext(ctx, "a purchase request can't be understood or stored; it is kept", "reason", reason)
	p.rejected.Inc()
	var id *uuid.UUID
	if found, ok := wire.PurchaseID(msg.Data()); ok {
		id = &found
	}
	firstAt, err := p.rejects.RecordRejected(ctx, id, msg.Data(), reason)
	return id, firstAt, err
}

// answer tells catalog, and only then tells NATS that the message is done.
func (p *Purchases) answer(ctx context.Context, msg jetstream.Msg, r billing.Result, processing *natstrace.Processing) {
	var err error
	outcome := ""
	switch {
	case r.Charge != nil:
		outcome = string(r.Charge.Outcome)
		p.outcomes.WithLabelValues(outcome).Inc()
		if r.Repeat {
			repeated(ctx, r.Charge)
		}
		if err = p.reply(ctx, msg, r.Charge); err == nil {
			err = msg.Ack()
		}
	case r.Held:
		outcome = "held"
		err = msg.NakWithDelay(againHeld)
	case r.Undecided:
		outcome = "unreadable"
		err = msg.TermWithReason("kept in billing.rejected_messages")
	case r.Poison != nil:
		outcome = "refused by the database"
		if _, _, err = p.record(ctx, msg, r.Poison); err == nil {
			err = msg.TermWithReason("kept in billing.rejected_messages")
		}
	default:
		outcome = "undecided"
		processing.Fail("it could not be settled; it comes again", r.Err)
		err = msg.NakWithDelay(againError)
	}
	telemetry.Note(ctx, slog.String("outcome", outcome))
	if err != nil {
		// NATS delivers it again, or catalog sends it again.
		processing.Fail("it could not be finished; it comes again", err)
	}
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
	_, span := natstrace.Send(ctx, wire.SubjectAnswered, out)
	defer span.End()
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
