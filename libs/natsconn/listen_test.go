package natsconn_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/natsconn"
)

// queue is a stream with messages in it, which come again after an hour when
// they are not acknowledged.
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

// listen runs a Listener on a consumer; the function that it returns ends it.
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

// Listeners come and go; what one has pulled when it goes must not wait for
// AckWait until another gets it.
func TestNothingIsLeftWithListenersThatEnd(t *testing.T) {
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
		eventually(t, "it has begun", func() bool { return handled.Load() > from+20 || left(t, consumer) == 0 })
		stop()
	}
	eventually(t, "all are done", func() bool { return left(t, consumer) == 0 })
	if handled.Load() != messages {
		t.Errorf("%d handled of %d", handled.Load(), messages)
	}
}

func TestASlowListenerHandsBackWhatItHasPulled(t *testing.T) {
	t.Parallel()
	consumer := queue(t, 20)
	begun, finish := make(chan struct{}), make(chan struct{})
	first := true
	stop := listen(t, consumer, func(msg jetstream.Msg) {
		if first {
			first = false
			close(begun)
			<-finish
		}
		if err := msg.Ack(); err != nil {
			t.Error(err)
		}
	})
	<-begun
	eventually(t, "it has pulled them all", func() bool { info, err := consumer.Info(t.Context()); return err == nil && info.NumPending == 0 })
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	time.Sleep(3 * time.Second) // longer than it takes in messages
	close(finish)
	<-stopped
	stopOther := listen(t, consumer, func(msg jetstream.Msg) {
		if err := msg.Ack(); err != nil {
			t.Error(err)
		}
	})
	defer stopOther()
	eventually(t, "another has done the rest", func() bool { return left(t, consumer) == 0 })
}
