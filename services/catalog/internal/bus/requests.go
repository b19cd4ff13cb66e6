package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
	"lavka/libs/service/natstrace"
	"lavka/libs/service/telemetry"
	"lavka/services/catalog/internal/catalog"
)

var errNotConnected = errors.New("not connected to NATS")

// Send publishes requests, as many in a message as billing can read, each in the
// trace of the HTTP request that created its purchase. The messages have no
// Nats-Msg-Id, because with one a purchase could not be sent again within the
// stream's duplicate window. Send does not retry; the sweeper does.
func (b *Billing) Send(ctx context.Context, purchases []catalog.Purchase, unsent func([]catalog.Purchase)) {
	for group := range slices.Chunk(purchases, b.reads.group()) {
		ack, err := b.publish(ctx, group)
		if err != nil {
			unsent(group)
			continue
		}
		go func() { // for at most ackWait
			select {
			case <-ack.Ok():
			case <-ack.Err():
				unsent(group)
			}
		}()
	}
}

// SendAgain publishes one request in a message of its own. So it is not affected
// by a fault in the message that contained it before, and every release of
// billing can read it.
func (b *Billing) SendAgain(ctx context.Context, p catalog.Purchase) error {
	_, err := b.publish(ctx, []catalog.Purchase{p}, slog.Bool("sent_again", true))
	return err
}

func (b *Billing) publish(ctx context.Context, group []catalog.Purchase, notes ...slog.Attr) (jetstream.PubAckFuture, error) {
	if !b.Connected() {
		return nil, errNotConnected
	}
	msg := &nats.Msg{Subject: wire.SubjectRequested, Header: nats.Header{wire.HeaderReply: {b.reply}}}
	requests := make([]wire.PurchaseRequested, len(group))
	for i, p := range group {
		sending, traceparent, span := natstrace.SendPart(telemetry.WithTraceparent(ctx, p.Trace), wire.SubjectRequested, msg, len(group))
		defer span.End()
		telemetry.Note(sending, notes...)
		requests[i] = wire.PurchaseRequested{
			V: wire.Version, PurchaseID: p.ID, UserID: p.UserID, BillID: p.BillID, Amount: int64(p.Amount), ExpiresAt: p.ExpiresAt.UTC(),
			Traceparent: traceparent,
		}
	}
	var err error
	if msg.Data, err = wire.EncodeGroup(requests); err != nil {
		return nil, fmt.Errorf("encode purchase requests: %w", err)
	}
	ack, err := b.js.PublishMsgAsync(msg, jetstream.WithStallWait(stallWait), jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, fmt.Errorf("publish purchase requests: %w", err)
	}
	return ack, nil
}

// Refunds sends refunds to billing.
type Refunds struct{ *Billing }

// SendAgain publishes a refund in a message of its own, in the trace of the HTTP
// request that created it. It does not wait for the stream's acknowledgement: the
// sweeper retries.
func (b Refunds) SendAgain(ctx context.Context, r catalog.Refund) error {
	if !b.Connected() {
		return errNotConnected
	}
	msg := &nats.Msg{Subject: wire.SubjectRequested, Header: nats.Header{wire.HeaderReply: {b.reply}}}
	sending, traceparent, span := natstrace.SendPart(telemetry.WithTraceparent(ctx, r.Trace), wire.SubjectRequested, msg, 1)
	defer span.End()
	telemetry.Note(sending, slog.String("refund_id", r.ID.String()))
	var err error
	msg.Data, err = wire.Encode(wire.RefundRequested{
		V: wire.VersionRefund, RefundID: r.ID, OfPurchase: r.PurchaseID, Payer: r.UserID, Bill: r.BillID, Minor: int64(r.Amount), Force: r.Force,
		Traceparent: traceparent,
	})
	if err != nil {
		return fmt.Errorf("encode refund request: %w", err)
	}
	if _, err = b.js.PublishMsgAsync(msg, jetstream.WithStallWait(stallWait), jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("publish refund request: %w", err)
	}
	return nil
}
