package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/deploy/local/stack"
	"lavka/libs/contract/wire"
	"lavka/tests/faults/natsproxy"
)

// natsFaults break the broker, and messages in flight.
func natsFaults() []fault {
	broker := []fault{
		{
			name: "nats-restart", story: "NATS stopped and started at once", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				t.NATS().Stop()
				return t.NATS().Start()
			},
		},
		{
			name: "nats-away", story: "NATS is stopped for a minute (3 s); purchases, payments, lists and logins keep working", blind: true,
			strike: func(ctx context.Context, t *trial) error { return t.withoutNATS(ctx, nil) },
		},
		{
			name: "nats-lost", story: "NATS stopped, and its whole store deleted while it is down", blind: true,
			strike: func(ctx context.Context, t *trial) error { return t.withoutNATS(ctx, t.NATS().Wipe) },
		},
		{
			name: "nats-rewound", story: "NATS restarts with an earlier copy of its store, as after a crash that lost its last writes", blind: true, alone: true,
			strike: natsRewound,
		},
		{
			name: "stream-full", story: "the stream of purchase requests accepts no messages for a while",
			strike: streamFull,
		},
		{
			name: "stream-deleted", story: "the stream of purchase requests is deleted",
			strike: func(ctx context.Context, t *trial) error {
				return t.operate(ctx, func(ctx context.Context, js jetstream.JetStream) error {
					return js.DeleteStream(ctx, wire.StreamPurchases)
				})
			},
		},
		{
			name: "users-deleted", story: "the stream of users is deleted", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				return t.operate(ctx, func(ctx context.Context, js jetstream.JetStream) error { return js.DeleteStream(ctx, wire.StreamUsers) })
			},
		},
		{
			name: "consumers-deleted", story: "billing's consumers of purchase requests and of users are deleted", blind: true,
			strike: func(ctx context.Context, t *trial) error {
				return t.operate(ctx, func(ctx context.Context, js jetstream.JetStream) error {
					return errors.Join(js.DeleteConsumer(ctx, wire.StreamPurchases, wire.ConsumerPurchases), js.DeleteConsumer(ctx, wire.StreamUsers, wire.ConsumerUsers))
				})
			},
		},
	}
	for i := range broker {
		broker[i].part = "nats"
	}
	return append(broker,
		messages("messages-delayed", "messages are held for up to a second each way", natsproxy.Rule{Delay: 0.3, MaxDelay: time.Second}),
		messages("messages-reordered", "messages overtake each other", natsproxy.Rule{Delay: 0.5, MaxDelay: 50 * time.Millisecond}),
		messages("messages-doubled", "half of all messages are delivered twice", natsproxy.Rule{Duplicate: 0.5}),
		messages("messages-lost", "a fifth of all messages is lost", natsproxy.Rule{Drop: 0.2}),
		messages("messages-mixed", "messages are lost, doubled, held and re-ordered", natsproxy.Rule{Drop: 0.1, Duplicate: 0.3, Delay: 0.3, MaxDelay: 500 * time.Millisecond}),
	)
}

// withoutNATS stops NATS for a while, and runs meanwhile, if not nil, before it
// starts NATS again.
func (t *trial) withoutNATS(ctx context.Context, meanwhile func() error) error {
	t.NATS().Stop()
	broken := t.natsAway(ctx)
	err := last(ctx, t.span(time.Second, time.Minute))
	if meanwhile != nil {
		err = errors.Join(err, meanwhile())
	}
	return errors.Join(broken, err, t.NATS().Start())
}

// natsRewound restarts NATS with an earlier copy of its store.
func natsRewound(ctx context.Context, t *trial) error {
	store, then := filepath.Join(t.dir, "data", "nats"), filepath.Join(t.dir, "nats-then")
	t.NATS().Stop()
	err := errors.Join(os.CopyFS(then, os.DirFS(store)), t.NATS().Start())
	err = errors.Join(err, last(ctx, t.span(3*time.Second, 20*time.Second)))
	t.NATS().Stop()
	return errors.Join(err, os.RemoveAll(store), os.Rename(then, store), t.NATS().Start())
}

// streamFull leaves no room in the stream, which then refuses new messages.
// Billing restores the stream's configuration when it reconnects.
func streamFull(ctx context.Context, t *trial) error {
	resize := func(bytes int64) error {
		return t.operate(ctx, func(ctx context.Context, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, wire.StreamPurchases)
			if err != nil {
				return err
			}
			cfg := s.CachedInfo().Config
			cfg.MaxBytes = bytes
			_, err = js.UpdateStream(ctx, cfg)
			return err
		})
	}
	if err := resize(1); err != nil {
		return err
	}
	full := t.rec.Now()
	broken := t.promise(ctx, "a purchase is answered 202 while the stream is full", func() bool { return t.boughtLater(full) })
	err := last(ctx, t.span(time.Second, time.Minute))
	return errors.Join(broken, err, resize(256<<20))
}

// messages applies a rule to the messages of all replicas, in both directions.
func messages(name, story string, rule natsproxy.Rule) fault {
	return fault{
		name: name, story: story, blind: true,
		strike: func(ctx context.Context, t *trial) error {
			var rules []natsproxy.Rule
			for _, match := range []natsproxy.Rule{
				{Subject: wire.SubjectRequested}, {Subject: wire.SubjectAnswered + ".*"}, {Subject: wire.SubjectChanged + ".*"}, {Stream: wire.StreamPurchases}, {Stream: wire.StreamUsers},
			} {
				r := rule
				r.Subject, r.Stream = match.Subject, match.Stream
				rules = append(rules, r)
			}
			of := t.linesOf(stack.Services()...)
			before := touched(of)
			for _, l := range of {
				l.messages.Set(rules...)
			}
			err := last(ctx, t.span(4*time.Second, 30*time.Second))
			for _, l := range of {
				l.messages.Clear()
			}
			if touched(of) == before && !t.mixed {
				return errors.Join(err, errors.New("the fault had no effect: no message was dropped, duplicated or delayed"))
			}
			return err
		},
	}
}

func touched(of []*lines) (n int) {
	for _, l := range of {
		c := l.messages.Counts()
		n += c.Dropped + c.Duplicated + c.Delayed
	}
	return n
}
