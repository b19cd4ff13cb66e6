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

// delivery is a message in progress. Its requests may be decided in several
// groups. After the last decision the message is answered, and only then
// acknowledged to NATS.
type delivery struct {
	*Purchases
	msg   jetstream.Msg
	parts []part
	left  atomic.Int32 // parts without a result yet
}

// part is one request of a message. All parts of a message are of one kind.
type part struct {
	request    request
	ctx        context.Context
	processing *natstrace.Processing
	result     billing.Result
	charge     *billing.Charge         // the decision, if result has one and it is about a purchase
	refund     *billing.RefundDecision // the same, about a refund
}

// request is what a part asks: a wire.PurchaseRequested, a wire.RefundRequested, or
// nil if the message can't be parsed.
type request struct {
	body        any
	traceparent string
}

// take starts a delivery. It waits for a slot for each of the message's requests.
func (p *Purchases) take(ctx context.Context, msg jetstream.Msg, requests []request) *delivery {
	d := &delivery{Purchases: p, msg: msg, parts: make([]part, len(requests))}
	d.left.Store(int32(len(requests)))
	times := deliveries(msg)
	for i, r := range requests {
		p.slots <- struct{}{}
		ctx, processing := natstrace.ProcessPart(ctx, wire.SubjectRequested, msg.Headers(), r.traceparent, len(requests), times)
		d.parts[i] = part{request: r, ctx: ctx, processing: processing}
	}
	return d
}

// charge enqueues a request for a decision.
func (d *delivery) charge(i int, r billing.ChargeRequest) {
	r.Trace = telemetry.Traceparent(d.parts[i].ctx)
	if err := d.settler.Charge(d.parts[i].ctx, r, func(r billing.Result) { d.decided(i, r) }); err != nil {
		d.decided(i, billing.Failed{Err: err})
	}
}

// refund enqueues a refund for a decision.
func (d *delivery) refund(i int, r billing.RefundRequest) {
	r.Trace = telemetry.Traceparent(d.parts[i].ctx)
	if err := d.settler.Refund(d.parts[i].ctx, r, func(r billing.Result) { d.decided(i, r) }); err != nil {
		d.decided(i, billing.Failed{Err: err})
	}
}

// reject records a message that can't be parsed. If its purchase id can be read,
// the request is then charged as unreadable: it is answered with an earlier
// decision, or expires.
func (d *delivery) reject(cause error) {
	ctx := d.parts[0].ctx
	id, firstAt, err := d.record(ctx, d.msg.Data(), cause)
	switch {
	case err != nil:
		d.decided(0, billing.Failed{Err: err})
	case id == nil: // no purchase to answer for
		d.decided(0, billing.Undecided{})
	default:
		telemetry.Note(ctx, slog.String("purchase_id", id.String()))
		d.charge(0, billing.ChargeRequest{PurchaseID: *id, ExpiresAt: firstAt.Add(unreadableExpiry), Unreadable: true})
	}
}

// decided stores the result of a request. It must not block.
func (d *delivery) decided(i int, r billing.Result) {
	d.parts[i].result = r
	if d.left.Add(-1) > 0 {
		return
	}
	for _, p := range d.parts {
		if _, poisoned := p.result.(billing.Poisoned); poisoned {
			go d.finish() // it writes to the database, and the group must not wait for that
			return
		}
	}
	d.finish()
}

// finish answers catalog and then acknowledges the message to NATS. If a request
// must be retried, who retries it depends on the others. If none of them was
// decided, NATS redelivers the message. If some were, catalog retries the rest one
// by one: a redelivery would repeat up to 63 decided requests because of one locked
// bill.
func (d *delivery) finish() {
	var answers []*part
	var again time.Duration // delay of the redelivery, if one is needed
	recorded := false       // whether a request was recorded in billing.rejected_messages
	for i := range d.parts {
		p := &d.parts[i]
		outcome := ""
		switch r := p.result.(type) {
		case billing.Decided:
			p.charge = r.Charge
		case billing.DecidedBefore:
			p.charge = r.Charge
			repeated(p.ctx, r.Charge.Request.Trace)
		case billing.RefundDecided:
			p.refund = r.Decision
		case billing.RefundDecidedBefore:
			p.refund = r.Decision
			repeated(p.ctx, r.Decision.Request.Trace)
		case billing.Held:
			outcome = "held"
			again = max(again, againHeld)
		case billing.Undecided:
			outcome = "unreadable"
			recorded = true
		case billing.Poisoned:
			outcome = "refused by the database"
			recorded = true
			if err := d.rejectPoisoned(p, r); err != nil {
				p.processing.Fail("the request could not be recorded; it will be retried", err)
				again = max(again, againError)
			}
		case billing.Failed:
			outcome = "undecided"
			p.processing.Fail("the request could not be settled; it will be retried", r.Err)
			again = max(again, againError)
		default: // the other results are for payments and reversals only
			outcome = "undecided"
			p.processing.Fail("the request could not be settled; it will be retried", fmt.Errorf("unexpected result %T", r))
			again = max(again, againError)
		}
		switch {
		case p.charge != nil:
			outcome = string(p.charge.Outcome)
			d.outcomes.WithLabelValues(outcome).Inc()
			answers = append(answers, p)
		case p.refund != nil:
			outcome = string(p.refund.Outcome)
			d.refunds.WithLabelValues(outcome).Inc()
			answers = append(answers, p)
		}
		telemetry.Note(p.ctx, slog.String("outcome", outcome))
	}
	err := d.answer(answers)
	switch {
	case err != nil:
	case again > 0 && len(answers) == 0:
		err = d.msg.NakWithDelay(again)
	case recorded:
		err = d.msg.TermWithReason("recorded in billing.rejected_messages")
	default:
		err = d.msg.Ack()
	}
	for _, p := range d.parts {
		if err != nil {
			// NATS redelivers the message, or catalog retries the request.
			p.processing.Fail("the message could not be answered or acknowledged; it will be redelivered or retried", err)
		}
		p.processing.End(p.ctx, d.log, slog.LevelInfo)
		<-d.slots
	}
}

// rejectPoisoned records a request that the database refuses.
func (d *delivery) rejectPoisoned(p *part, r billing.Poisoned) error {
	body := d.msg.Data()
	if len(d.parts) > 1 {
		var err error
		if body, err = wire.Encode(p.request.body); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	_, _, err := d.record(p.ctx, body, r.Err)
	return err
}

// answer sends the decisions to the catalog replica that sent the message.
func (d *delivery) answer(decided []*part) error {
	to := d.msg.Headers().Get(wire.HeaderReply)
	if len(decided) == 0 || !strings.HasPrefix(to, wire.SubjectAnswered+".") {
		return nil // no replica waits; a retried request names its reply subject
	}
	msg := &nats.Msg{Subject: to, Header: nats.Header{wire.HeaderReads: {wire.ReadsGroups}}}
	var charges []wire.PurchaseAnswered
	var refunds []wire.RefundAnswered
	for _, p := range decided {
		_, traceparent, span := natstrace.SendPart(p.ctx, wire.SubjectAnswered, msg, len(decided))
		defer span.End()
		if p.refund != nil {
			refunds = append(refunds, refundAnswer(p.refund, traceparent))
		} else {
			charges = append(charges, answer(p.charge, traceparent))
		}
	}
	var err error
	if len(refunds) > 0 {
		msg.Data, err = wire.EncodeGroup(refunds)
	} else {
		msg.Data, err = wire.EncodeGroup(charges)
	}
	if err != nil {
		return fmt.Errorf("encode answers: %w", err)
	}
	return d.nc.PublishMsg(msg)
}
