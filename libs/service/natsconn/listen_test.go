package natsconn_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/service/natsconn"
	"lavka/libs/testkit/waittest"
)

// queue returns a consumer of a stream with messages in it, which NATS redelivers
// only after an hour if they are not acknowledged.
func queue(t *testing.T, messages int) jetstream.Consumer {
	t.Helper()
	_, js := connected(t)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		if _, err := js.Publish(t.Context(), "work", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	return consumer
}

// listen runs a Listener on a consumer until stop is called.
func listen(t *testing.T, consumer jetstream.Consumer, handle func(jetstream.Msg)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		natsconn.Listener{
			Name: "test", Log: quiet, Ahead: 50,
			Open:   func(context.Context) (jetstream.Consumer, error) { return consumer, nil },
			Handle: func(_ context.Context, msg jetstream.Msg) error { handle(msg); return nil },
		}.Run(ctx)
	})
	return func() { cancel(); running.Wait() }
}

func left(t *testing.T, consumer jetstream.Consumer) int {
	t.Helper()
	info, err := consumer.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.NumAckPending + int(info.NumPending)
}

// Listeners start and stop; the messages that one has pulled when it stops must
// reach another without waiting for AckWait.
func TestEndingListenersReturnTheirMessages(t *testing.T) {
	t.Parallel()
	const messages = 3000
	consumer := queue(t, messages)
	var handled atomic.Int64
	handle := func(msg jetstream.Msg) {
		handled.Add(1)
		if err := msg.DoubleAck(context.Background()); err != nil {
			t.Error(err)
		}
	}
	for handled.Load() < messages {
		from := handled.Load()
		stop := listen(t, consumer, handle)
		waittest.Eventually(t, "the listener has begun", func() bool { return handled.Load() > from+20 || left(t, consumer) == 0 })
		stop()
	}
	waittest.Eventually(t, "all messages are acknowledged", func() bool { return left(t, consumer) == 0 })
	if handled.Load() != messages {
		t.Errorf("%d messages handled, want %d", handled.Load(), messages)
	}
}

func TestASlowListenerHandsBackWhatItHasPulled(t *testing.T) {
	t.Parallel()
	const messages = 50
	consumer := queue(t, messages)
	begun := make(chan struct{})
	var handled, handedBack atomic.Int64
	stop := listen(t, consumer, func(msg jetstream.Msg) {
		if handled.Add(1) == 1 {
			close(begun)
		}
		time.Sleep(natsconn.DrainTime / 5) // all of them would take ten times drainTime
		if err := msg.DoubleAck(context.Background()); err != nil {
			t.Error(err)
		}
	})
	<-begun
	waittest.Eventually(t, "the listener has pulled all messages", func() bool { info, err := consumer.Info(t.Context()); return err == nil && info.NumPending == 0 })
	stop()
	stopOther := listen(t, consumer, func(msg jetstream.Msg) {
		handedBack.Add(1)
		if about, err := msg.Metadata(); err != nil || about.NumDelivered != 2 {
			t.Errorf("not a second delivery: %+v, %v", about, err)
		}
		if err := msg.DoubleAck(context.Background()); err != nil {
			t.Error(err)
		}
	})
	waittest.Eventually(t, "another listener has handled the rest", func() bool { return left(t, consumer) == 0 })
	stopOther()
	if back := handedBack.Load(); back == 0 || handled.Load()+back != messages {
		t.Errorf("%d messages handled and %d handed back, want %d in all and at least one handed back", handled.Load(), back, messages)
	}
}
