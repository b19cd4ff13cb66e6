// Package bus speaks with billing over NATS, which may lose or repeat anything.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/natstrace"
	"lavka/libs/telemetry"
	"lavka/libs/wire"
	"lavka/services/catalog/internal/catalog"
)

// Bounds of what is on its way to the stream.
const (
	maxPending = 8192
	stallWait  = 100 * time.Millisecond
	ackWait    = 2 * time.Second
)

var errNotConnected = errors.New("not connected to NATS")

// Requests asks billing to charge purchases.
type Requests struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	reply string
}

// NewRequests makes Requests that are answered to a replica.
func NewRequests(nc *nats.Conn, replicaID string) (*Requests, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackWait))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &Requests{nc: nc, js: js, reply: answerSubject(replicaID)}, nil
}

// Connected says whether NATS is there.
func (r *Requests) Connected() bool { return r.nc.IsConnected() }

// Send publishes a request. It has no Nats-Msg-Id: within the stream's
// duplicate window the same purchase could not be sent again. It is not tried
// again here either; the sweeper does that.
func (r *Requests) Send(ctx context.Context, p catalog.Purchase) (<-chan error, error) {
	return r.send(ctx, p, false)
}

// SendAgain is Send, in the trace of the request that made the purchase.
func (r *Requests) SendAgain(ctx context.Context, p catalog.Purchase) (<-chan error, error) {
	return r.send(telemetry.WithTraceparent(ctx, p.Trace), p, true)
}

func (r *Requests) send(ctx context.Context, p catalog.Purchase, again bool) (<-chan error, error) {
	if !r.Connected() {
		return nil, errNotConnected
	}
	data, err := wire.Encode(wire.PurchaseRequested{
		V: wire.Version, PurchaseID: p.ID, UserID: p.UserID, BillID: p.BillID, Amount: int64(p.Price), ExpiresAt: p.ExpiresAt.UTC(),
	})
	if err != nil {
		return nil, fmt.Errorf("write purchase request: %w", err)
	}
	msg := &nats.Msg{Subject: wire.SubjectRequested, Data: data, Header: nats.Header{wire.HeaderReply: {r.reply}}}
	sending, span := natstrace.Send(ctx, wire.SubjectRequested, msg)
	defer span.End()
	if again {
		telemetry.Note(sending, slog.Bool("sent_again", true))
	}
	ack, err := r.js.PublishMsgAsync(msg, jetstream.WithStallWait(stallWait), jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, fmt.Errorf("publish purchase request: %w", err)
	}
	return ack.Err(), nil
}

func answerSubject(replicaID string) string { return wire.SubjectAnswered + "." + replicaID }
