package main

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
)

// billing is the test's stand-in for billing, over real NATS.
type billing struct {
	nc *nats.Conn

	mu       sync.Mutex
	reads    string                                              // the formats that it announces; "" as in an older release
	decide   func(wire.PurchaseRequested) *wire.PurchaseAnswered // returns nil for no answer
	requests []request
	refund   func(wire.RefundRequested) *wire.RefundAnswered // returns nil for no answer
	refunds  []wire.RefundRequested
}

type request struct {
	wire.PurchaseRequested
	header  nats.Header
	several int // requests in the same message
}

func settled(wire.PurchaseRequested) *wire.PurchaseAnswered {
	return &wire.PurchaseAnswered{Outcome: wire.Settled, TransactionID: new(int64(42)), Balance: new(int64(5))}
}

func silent(wire.PurchaseRequested) *wire.PurchaseAnswered { return nil }

func declined(reason string, balance *int64) func(wire.PurchaseRequested) *wire.PurchaseAnswered {
	return func(wire.PurchaseRequested) *wire.PurchaseAnswered {
		return &wire.PurchaseAnswered{Outcome: wire.Declined, Reason: reason, Balance: balance}
	}
}

// newBilling creates the stream as billing does, and answers as decide says.
func newBilling(t *testing.T, s *shop, decide func(wire.PurchaseRequested) *wire.PurchaseAnswered) *billing {
	t.Helper()
	nc, js := s.connect(t)
	b := &billing{nc: nc, decide: decide, refund: refunded}
	b.consume(t, js)
	return b
}

func (b *billing) consume(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.CreateOrUpdateStream(t.Context(), streams.Purchases(1))
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(t.Context(), streams.PurchasesConsumer())
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) { b.receive(t, msg) }, jetstream.PullExpiry(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
}

func (b *billing) receive(t *testing.T, msg jetstream.Msg) {
	if wire.AboutRefunds(msg.Data()) {
		b.receiveRefunds(t, msg)
		return
	}
	group, err := wire.DecodePurchaseRequested(msg.Data())
	if err != nil {
		t.Errorf("billing can't read %s: %v", msg.Data(), err)
		return
	}
	b.mu.Lock()
	for _, m := range group {
		b.requests = append(b.requests, request{m, msg.Headers(), len(group)})
	}
	decide := b.decide
	b.mu.Unlock()
	var answers []wire.PurchaseAnswered
	for _, m := range group {
		if a := decide(m); a != nil {
			answers = append(answers, about(m.PurchaseID, a))
		}
	}
	if len(answers) > 0 {
		b.answer(t, msg.Headers().Get(wire.HeaderReply), answers...)
	}
	if err := msg.Ack(); err != nil {
		t.Errorf("ack: %v", err)
	}
}

func (b *billing) receiveRefunds(t *testing.T, msg jetstream.Msg) {
	group, err := wire.DecodeRefundRequested(msg.Data())
	if err != nil {
		t.Errorf("billing can't read %s: %v", msg.Data(), err)
		return
	}
	b.mu.Lock()
	b.refunds = append(b.refunds, group...)
	decide := b.refund
	b.mu.Unlock()
	for _, m := range group {
		a := decide(m)
		if a == nil {
			continue
		}
		a.V, a.RefundID = wire.VersionRefund, m.RefundID
		data, err := wire.Encode(a)
		if err != nil {
			t.Error(err)
		}
		if err := b.nc.PublishMsg(&nats.Msg{Subject: msg.Headers().Get(wire.HeaderReply), Data: data, Header: nats.Header{}}); err != nil {
			t.Errorf("answer: %v", err)
		}
	}
	if err := msg.Ack(); err != nil {
		t.Errorf("ack: %v", err)
	}
}

// decidesRefunds sets how billing decides on refunds.
func (b *billing) decidesRefunds(decide func(wire.RefundRequested) *wire.RefundAnswered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refund = decide
}

// refundsReceived returns the requests of refunds received so far.
func (b *billing) refundsReceived() []wire.RefundRequested {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]wire.RefundRequested(nil), b.refunds...)
}

func refunded(wire.RefundRequested) *wire.RefundAnswered {
	return &wire.RefundAnswered{Outcome: wire.Refunded, TransactionID: new(int64(43))}
}

func undecided(wire.RefundRequested) *wire.RefundAnswered { return nil }

func refundDeclined(reason string, refundable *int64) func(wire.RefundRequested) *wire.RefundAnswered {
	return func(wire.RefundRequested) *wire.RefundAnswered {
		return &wire.RefundAnswered{Outcome: wire.Declined, Reason: reason, Refundable: refundable}
	}
}

// about completes an answer to a purchase.
func about(id uuid.UUID, a *wire.PurchaseAnswered) wire.PurchaseAnswered {
	a.V, a.PurchaseID = wire.Version, id
	return *a
}

func (b *billing) answer(t *testing.T, to string, answers ...wire.PurchaseAnswered) {
	data, err := wire.EncodeGroup(answers)
	if err != nil {
		t.Error(err)
		return
	}
	msg := &nats.Msg{Subject: to, Data: data, Header: nats.Header{}}
	b.mu.Lock()
	if b.reads != "" {
		msg.Header.Set(wire.HeaderReads, b.reads)
	}
	b.mu.Unlock()
	if err := b.nc.PublishMsg(msg); err != nil {
		t.Errorf("answer: %v", err)
	}
}

// understands sets the formats that billing announces, as another release would.
func (b *billing) understands(reads string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads = reads
}

func (b *billing) decides(decide func(wire.PurchaseRequested) *wire.PurchaseAnswered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decide = decide
}

// received returns the requests received so far.
func (b *billing) received() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]request(nil), b.requests...)
}
