package natsproxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/tests/faults/natsproxy"
)

// jet is a stream of its own on a wire, written and read through the proxy.
type jet struct {
	*wire
	js jetstream.JetStream
}

func newJet(t *testing.T, streams ...string) *jet {
	t.Helper()
	j := &jet{wire: newWire(t, 1)}
	var err error
	j.js, err = jetstream.New(j.far, jetstream.WithPublishAsyncTimeout(patience))
	must(t, err)
	for _, name := range streams {
		_, err := j.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.MemoryStorage})
		must(t, err)
	}
	return j
}

// publish sends n messages to a stream at once and waits until all are there.
func (j *jet) publish(stream string, n int, data func() []byte) (sent [][]byte) {
	j.t.Helper()
	for range n {
		sent = append(sent, data())
		_, err := j.js.PublishAsync(stream+".x", sent[len(sent)-1], jetstream.WithStallWait(patience))
		must(j.t, err)
	}
	select {
	case <-j.js.PublishAsyncComplete():
	case <-time.After(patience):
		j.t.Fatalf("%d are not acknowledged", j.js.PublishAsyncPending())
	}
	return sent
}

// pull reads a stream as billing does. What is not acknowledged within a time
// comes again.
func (j *jet) pull(stream string, again time.Duration) jetstream.MessagesContext {
	j.t.Helper()
	consumer, err := j.js.CreateConsumer(j.t.Context(), stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: again})
	must(j.t, err)
	// The server puts off its heartbeat with each delivery, also with one that
	// is dropped on the way: its silence is no error here, and pulls once more.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1000), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second),
		jetstream.WithMessagesErrOnMissingHeartbeat(false))
	must(j.t, err)
	j.t.Cleanup(messages.Stop)
	return messages
}

func (j *jet) next(messages jetstream.MessagesContext) jetstream.Msg {
	j.t.Helper()
	m, err := messages.Next(jetstream.NextMaxWait(patience))
	must(j.t, err)
	must(j.t, m.Ack())
	return m
}

func (j *jet) messages(stream string) uint64 {
	j.t.Helper()
	s, err := j.js.Stream(j.t.Context(), stream)
	must(j.t, err)
	return s.CachedInfo().State.Msgs
}

func hello() []byte { return []byte("hello") }

func TestJetStreamWithoutRules(t *testing.T) {
	t.Parallel()
	j := newJet(t, "A")
	const n = 10_000
	random := rand.New(rand.NewPCG(5, 6))
	sent := j.publish("A", n, func() []byte { return awkward(random) })
	messages := j.pull("A", patience)
	for i, want := range sent {
		m := j.next(messages)
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != uint64(i+1) || !bytes.Equal(m.Data(), want) {
			t.Fatalf("message %d is %+v, %v, or its data another", i+1, meta, err)
		}
	}
	must(t, j.far.FlushTimeout(patience))
	if c := j.Counts(); c.Passed < 4*n || c != (natsproxy.Counts{Passed: c.Passed}) { // each is sent, acknowledged, delivered and acknowledged
		t.Errorf("%+v", c)
	}
}

func TestDeliveriesOfOneStreamAreDuplicated(t *testing.T) {
	t.Parallel()
	j := newJet(t, "A", "B")
	const n = 500
	j.publish("A", n, hello)
	j.publish("B", n, hello)
	j.Set(natsproxy.Rule{Stream: "A", Direction: natsproxy.ToClient, Duplicate: 1})
	for stream, times := range map[string]int{"A": 2, "B": 1} {
		messages := j.pull(stream, patience)
		for i := range times * n {
			m := j.next(messages)
			if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != uint64(i/times+1) || meta.NumDelivered != 1 {
				t.Fatalf("delivery %d of %s is %+v, %v", i, stream, meta, err)
			}
		}
	}
	if c := j.Counts(); c.Duplicated != n || c.Dropped+c.Delayed != 0 {
		t.Errorf("%+v", c)
	}
}

func TestDeliveriesThatAreDroppedComeAgain(t *testing.T) {
	t.Parallel()
	j := newJet(t, "A")
	const n = 500
	j.publish("A", n, hello)
	j.Set(natsproxy.Rule{Stream: "A", Drop: 0.2, Delay: 0.2}) // the acknowledgements too
	messages, seen := j.pull("A", time.Second), map[uint64]bool{}
	again := 0
	for len(seen) < n {
		meta, err := j.next(messages).Metadata()
		must(t, err)
		seen[meta.Sequence.Stream] = true
		if meta.NumDelivered > 1 {
			again++
		}
	}
	if c := j.Counts(); c.Dropped == 0 || c.Delayed == 0 || again == 0 {
		t.Errorf("%+v, and %d were delivered again", c, again)
	}
}

func TestPublishesAreDuplicatedAndDropped(t *testing.T) {
	t.Parallel()
	j := newJet(t, "A")
	j.Set(natsproxy.Rule{Subject: "A.x", Direction: natsproxy.ToServer, Duplicate: 1})
	j.publish("A", 100, hello)
	if n := j.messages("A"); n != 200 {
		t.Errorf("%d messages in the stream", n)
	}
	m := &nats.Msg{Subject: "A.x", Data: hello(), Header: nats.Header{nats.MsgIdHdr: {"the same"}}}
	_, err := j.js.PublishMsg(t.Context(), m)
	must(t, err)
	if n := j.messages("A"); n != 201 {
		t.Errorf("%d messages in the stream: the second has lost its headers", n)
	}

	j.Set(natsproxy.Rule{Subject: "A.x", Direction: natsproxy.ToServer, Drop: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := j.js.Publish(ctx, "A.x", hello()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a publish that is dropped: %v", err)
	}
	j.Clear()
	if ack, err := j.js.Publish(t.Context(), "A.x", hello()); err != nil || ack.Sequence != 202 {
		t.Errorf("without rules: %s, %v", fmt.Sprint(ack), err)
	}
}
