package natsconn

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Listener pulls a consumer's messages while it runs. If the consumer, its stream
// or the server goes away, it opens the consumer again.
type Listener struct {
	Name string // for the log
	Log  *slog.Logger
	// Open finds or creates the consumer, and its stream if the service owns it.
	// Its context ends after 5 s.
	Open func(context.Context) (jetstream.Consumer, error)
	// Handle processes a message. After an error the consumer is opened again.
	Handle func(context.Context, jetstream.Msg) error
	// Failed, if set, is told why the listener has to open the consumer again.
	Failed func(error)
	// Ahead is the maximum number of messages pulled ahead of Handle.
	Ahead int
	// Fresh, if set, makes the listener open the consumer again after each
	// reconnect of this connection. A consumer without acknowledgements needs it:
	// its last messages may have been lost with the old connection.
	Fresh *nats.Conn
}

// drainTime is how long Run goes on handling pulled messages after ctx has ended.
const drainTime = 2 * time.Second

// Run listens until ctx ends. It then handles the messages already pulled for up
// to 2 s, hands the rest back for redelivery, and returns.
func (l Listener) Run(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, time.Second
	wait := shortest
	for ctx.Err() == nil {
		started := time.Now()
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.Failed != nil {
			l.Failed(err)
		}
		l.Log.DebugContext(ctx, "a subscription ended; restarting it", "listener", l.Name, "error", err)
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
	// Drain, unlike Stop, still delivers the messages already pulled: otherwise
	// another replica would get them only after AckWait. While the server is
	// unreachable, Drain never finishes, so give ends it after drainTime.
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

// handBack makes NATS redeliver the messages that were pulled but not handled to
// another replica at once.
func handBack(messages jetstream.MessagesContext) {
	for {
		// All remaining messages have already arrived.
		msg, err := messages.Next(jetstream.NextMaxWait(10 * time.Millisecond))
		if err != nil {
			return
		}
		if err := msg.Nak(); err != nil {
			return // the connection is gone: NATS redelivers after AckWait
		}
	}
}
