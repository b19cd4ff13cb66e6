package main

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/wire"
)

// billing is played by the test, over real NATS.
type billing struct {
	nc *nats.Conn

	mu       sync.Mutex
	decide   func(wire.PurchaseRequested) *wire.PurchaseAnswered // nil: no answer
	requests []request
}

type request struct {
	wire.PurchaseRequested
	header nats.Header
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

// newBilling makes the stream as billing does, and answers as decide says.
func newBilling(t *testing.T, s *shop, decide func(wire.PurchaseRequested) *wire.PurchaseAnswered) *billing {
	t.Helper()
	nc, js := s.connect(t)
	b := &billing{nc: nc, decide: decide}
	b.consume(t, js)
	return b
}

func (b *billing) consume(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{
		Name: wire.StreamPurchases, Subjects: []string{wire.SubjectRequested}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage,
		MaxAge: time.Minute, MaxBytes: 256 << 20, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: wire.ConsumerPurchases, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxAckPending: 20_000, MaxDeliver: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) { b.hear(t, msg) }, jetstream.PullExpiry(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
}

func (b *billing) hear(t *testing.T, msg jetstream.Msg) {
	m, err := wire.DecodePurchaseRequested(msg.Data())
	if err != nil {
		t.Errorf("billing can't read %s: %v", msg.Data(), err)
		return
	}
	b.mu.Lock()
	b.requests = append(b.requests, request{m, msg.Headers()})
	decide := b.decide
	b.mu.Unlock()
	if a := decide(m); a != nil {
		b.answer(t, msg.Headers().Get(wire.HeaderReply), m.PurchaseID, *a)
	}
	if err := msg.Ack(); err != nil {
		t.Errorf("ack: %v", err)
	}
}

func (b *billing) answer(t *testing.T, to string, id uuid.UUID, a wire.PurchaseAnswered) {
	a.V, a.PurchaseID = wire.Version, id
	data, err := wire.Encode(a)
	if err != nil {
		t.Error(err)
		return
	}
	if err := b.nc.Publish(to, data); err != nil {
		t.Errorf("answer: %v", err)
	}
}

func (b *billing) decides(decide func(wire.PurchaseRequested) *wire.PurchaseAnswered) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decide = decide
}

// heard gives the requests so far.
func (b *billing) heard() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]request(nil), b.requests...)
}
