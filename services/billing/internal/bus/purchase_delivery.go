package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
	"lavka/libs/service/natstrace"
	"lavka/libs/service/telemetry"
	"lavka/services/billing/internal/billing"
)

// delivery is a message in hand. Its requests may be decided in several groups;
// with the last one it is answered, and only then does NATS hear that it is done.
type delivery struct {
	*Purchases
	msg   jetstream.Msg
	parts []part
	left  atomic.Int32 // undecided
}

// part is one request of a message.
type part struct {
	request    wire.PurchaseRequested
	ctx        context.Context
	processing *natstrace.Processing
	result     billing.Result
}

// take takes a message in hand, and waits for a slot for each of its requests.
func (p *Purchases) take(ctx context.Context, msg jetstream.Msg, requests []wire.PurchaseRequested) *delivery {
	d := &delivery{Purchases: p, msg: msg, parts: make([]part, len(requests))}
	d.left.Store(int32(len(requests)))
	times := deliveries(msg)
	for i, m := range requests {
		p.slots <- struct{}{}
		ctx, processing := natstrace.ProcessPart(ctx, wire.SubjectRequested, msg.Headers(), m.Traceparent, len(requests), times)
		d.parts[i] = part{request: m, ctx: ctx, processing: processing}
	}
	return d
}

// charge has a request decided.
func (d *delivery) charge(i int, r billing.ChargeRequest) {
	r.Trace = telemetry.Traceparent(d.parts[i].ctx)
	if err := d.settler.Charge(d.parts[i].ctx, r, func(r billing.Result) { d.decided(i, r) }); err != nil {
		d.decided(i, billing.Result{Err: err})
	}
}

// keep keeps a message that can't be understood. Where its purchase id can be
// read, it can still be answered, or expire.
func (d *delivery) keep(cause error) {
	ctx := d.parts[0].ctx
	id, firstAt, err := d.record(ctx, d.msg.Data(), cause)
	switch {
	case err != nil:
		d.decided(0, billing.Result{Err: err})
	case id == nil: // there is nobody to answer
		d.decided(0, billing.Result{Undecided: true})
	default:
		telemetry.Note(ctx, slog.String("purchase_id", id.String()))
		d.charge(0, billing.ChargeRequest{PurchaseID: *id, ExpiresAt: firstAt.Add(unreadableExpiry), Unreadable: true})
	}
}

// decided takes what became of a request. It must not wait.
func (d *delivery) decided(i int, r billing.Result) {
	d.parts[i].result = r
	if d.left.Add(-1) > 0 {
		return
	}
	for _, p := range d.parts {
		if p.result.Poison != nil { // that asks the database, and a group must not wait for it
			go d.finish()
			return
		}
	}
	d.finish()
}

// finish tells catalog, and only then NATS. A message of which nothing could be
// decided comes again. Of one that could be answered in part, catalog asks for the
// rest one by one: coming again, it would bring up to 63 repeats for one bill that
// somebody holds.
func (d *delivery) finish() {
	var answers []*part
	var again time.Duration // until it has to come again
	kept := false           // in billing.rejected_messages
	for i := range d.parts {
		p := &d.parts[i]
		outcome := ""
		switch r := p.result; {
		case r.Charge != nil:
			outcome = string(r.Charge.Outcome)
			d.outcomes.WithLabelValues(outcome).Inc()
			if r.Repeat {
				repeated(p.ctx, r.Charge)
			}
			answers = append(answers, p)
		case r.Held:
			outcome = "held"
			again = max(again, againHeld)
		case r.Undecided:
			outcome = "unreadable"
			kept = true
		case r.Poison != nil:
			outcome = "refused by the database"
			kept = true
			if err := d.poisoned(p); err != nil {
				p.processing.Fail("it could not be kept; it is asked for again", err)
				again = max(again, againError)
			}
		default:
			outcome = "undecided"
			p.processing.Fail("it could not be settled; it is asked for again", r.Err)
			again = max(again, againError)
		}
		telemetry.Note(p.ctx, slog.String("outcome", outcome))
	}
	err := d.answer(answers)
	switch {
	case err != nil:
	case again > 0 && len(answers) == 0:
		err = d.msg.NakWithDelay(again)
	case kept:
		err = d.msg.TermWithReason("kept in billing.rejected_messages")
	default:
		err = d.msg.Ack()
	}
	for _, p := range d.parts {
		if err != nil {
			// NATS delivers it again, or catalog sends it again.
			p.processing.Fail("it could not be finished; it comes again", err)
		}
		p.processing.End(p.ctx, d.log, slog.LevelInfo)
		<-d.slots
	}
}

// poisoned keeps a request that the database refuses.
func (d *delivery) poisoned(p *part) error {
	body := d.msg.Data()
	if len(d.parts) > 1 {
		var err error
		if body, err = wire.Encode(p.request); err != nil {
			return fmt.Errorf("write purchase request: %w", err)
		}
	}
	_, _, err := d.record(p.ctx, body, p.result.Poison)
	return err
}

// answer sends decisions to the replica of catalog that has asked.
func (d *delivery) answer(decided []*part) error {
	to := d.msg.Headers().Get(wire.HeaderReply)
	if len(decided) == 0 || !strings.HasPrefix(to, wire.SubjectAnswered+".") {
		return nil // nobody waits; a request sent again says where to
	}
	msg := &nats.Msg{Subject: to, Header: nats.Header{wire.HeaderReads: {wire.ReadsGroups}}}
	answers := make([]wire.PurchaseAnswered, len(decided))
	for i, p := range decided {
		_, traceparent, span := natstrace.SendPart(p.ctx, wire.SubjectAnswered, msg, len(decided))
		defer span.End()
		answers[i] = answer(p.result.Charge)
		answers[i].Traceparent = traceparent
	}
	var err error
	if msg.Data, err = wire.EncodeGroup(answers); err != nil {
		return fmt.Errorf("write answers: %w", err)
	}
	return d.nc.PublishMsg(msg)
}
