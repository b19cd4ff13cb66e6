package natsconn

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Listener pulls a consumer's messages for as long as it is run, whatever ends
// in between: the consumer, its stream, the server.
type Listener struct {
	Name string // for the log
	Log  *slog.Logger
	// Open finds or makes the consumer, and its stream where that is ours, within 5 s.
	Open func(context.Context) (jetstream.Consumer, error)
	// Handle takes a message. An error ends this consumer: it is opened again.
	Handle func(context.Context, jetstream.Msg) error
	// Ahead is how many messages are pulled before they are handled.
	Ahead int
	// Fresh, when set, has the consumer opened anew at each reconnect: for one
	// that acknowledges nothing, whose last messages may have gone down with
	// the connection before.
	Fresh *nats.Conn
}

// drainTime bounds how long Run takes in what has been pulled, once ctx ended.
const drainTime = 2 * time.Second

// Run listens until ctx ends; then it handles what it had pulled, hands back
// what it can't get to within 2 s, and returns.
func (l Listener) Run(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, time.Second
	wait := shortest
	for ctx.Err() == nil {
		started := time.Now()
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.Log.DebugContext(ctx, "a subscription ended; starting it again", "listener", l.Name, "error", err)
		if time.Since(started) > 10*longest {
			wait = shortest
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, longest)
	}
}

func (l Listener) listen(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, 5*time.Second)
	consumer, err := l.Open(opening)
	cancel()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessages(l.Ahead),
		jetstream.PullExpiry(5*time.Second),
		jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	// Drain, unlike Stop, still hands over what has been pulled: left alone, it
	// would wait for AckWait before another replica got it. While the server is
	// away it comes to no end.
	taking, give := context.WithCancel(context.WithoutCancel(ctx))
	defer give()
	ended := context.AfterFunc(ctx, func() {
		messages.Drain()
		time.AfterFunc(drainTime, give)
	})
	defer ended()
	defer messages.Stop()
	if l.Fresh != nil {
		reconnected := l.Fresh.StatusChanged(nats.CONNECTED)
		defer l.Fresh.RemoveStatusListener(reconnected)
		go func() {
			if _, ok := <-reconnected; ok {
				messages.Stop()
			}
		}()
	}
	for {
		msg, err := messages.Next(jetstream.NextContext(taking))
		if err != nil && taking.Err() != nil && consumer.CachedInfo().Config.AckPolicy != jetstream.AckNonePolicy {
			handBack(messages)
		}
		if err != nil {
			return fmt.Errorf("next message: %w", err)
		}
		if err := l.Handle(context.WithoutCancel(ctx), msg); err != nil {
			return err
		}
	}
}

// handBack has what was pulled and not taken delivered to another replica at
// once.
func handBack(messages jetstream.MessagesContext) {
	for {
		// All that is left is here already.
		msg, err := messages.Next(jetstream.NextMaxWait(10 * time.Millisecond))
		if err != nil {
			return
		}
		if err := msg.Nak(); err != nil {
			return // the connection is gone: only time brings it back
		}
	}
}
