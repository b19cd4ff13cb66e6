// Package revocation knows which tokens have been taken back. Every replica of
// every service hears users' token versions on the USERS stream and keeps them
// in memory: a token with a lower version is refused, without a database read.
package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/wire"
)

// slack covers clocks that differ and messages under way.
const slack = 2 * time.Minute

// Versions holds the token versions that were heard within a token's lifetime.
type Versions struct {
	js     jetstream.JetStream
	log    *slog.Logger
	window time.Duration
	now    func() time.Time

	ready     chan struct{}
	readyOnce sync.Once

	mu    sync.RWMutex
	heard map[int64]version
}

type version struct {
	token int64
	at    time.Time
}

// New makes Versions for tokens that live that long; Run starts the listening.
func New(js jetstream.JetStream, tokenLifetime time.Duration, log *slog.Logger, now func() time.Time) *Versions {
	return &Versions{
		js: js, log: log, window: tokenLifetime + slack, now: now,
		ready: make(chan struct{}), heard: map[int64]version{},
	}
}

// Revoked reports whether a user's token of that version has been taken back.
func (v *Versions) Revoked(userID, tokenVersion int64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return tokenVersion < v.heard[userID].token
}

// Ready says whether the stream has been read once to its end.
func (v *Versions) Ready() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

// Loaded is closed when the stream has been read once to its end.
func (v *Versions) Loaded() <-chan struct{} { return v.ready }

// Known is the number of users whose version is kept.
func (v *Versions) Known() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.heard)
}

// Run listens until ctx ends. When the consumer, the stream or the server goes
// away it starts again from the window's beginning: what it knows already does
// no harm, and what it knows stays in force meanwhile.
func (v *Versions) Run(ctx context.Context) error {
	wait := 50 * time.Millisecond
	for ctx.Err() == nil {
		heard, err := v.listen(ctx)
		if ctx.Err() != nil {
			return nil
		}
		v.log.DebugContext(ctx, "listening to users ended; starting again", "error", err)
		if heard {
			wait = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
	return nil
}

// listen reads with a consumer of its own. That is not nats.go's ordered
// consumer on purpose: after the stream was deleted and made again, that one
// would wait for the old sequence numbers.
func (v *Versions) listen(ctx context.Context) (heard bool, err error) {
	start := v.now().Add(-v.window)
	consumer, err := v.js.CreateConsumer(ctx, wire.StreamUsers, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartTimePolicy,
		OptStartTime:      &start,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: 30 * time.Second,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return false, fmt.Errorf("make consumer: %w", err)
	}
	if consumer.CachedInfo().NumPending == 0 {
		v.markReady()
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1000), jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return false, fmt.Errorf("pull: %w", err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	prune := v.now().Add(v.window)
	for next := uint64(1); ; next++ {
		msg, err := messages.Next()
		if err != nil {
			return heard, fmt.Errorf("next message: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return heard, fmt.Errorf("message metadata: %w", err)
		}
		if meta.Sequence.Consumer != next {
			return heard, errors.New("a message was lost on the way")
		}
		heard = true
		v.hear(ctx, msg.Data())
		if meta.NumPending == 0 {
			v.markReady()
		}
		if v.now().After(prune) {
			v.prune()
			prune = v.now().Add(v.window / 2)
		}
	}
}

func (v *Versions) hear(ctx context.Context, data []byte) {
	user, err := wire.DecodeUserChanged(data)
	if err != nil {
		v.log.ErrorContext(ctx, "a user's message can't be read", "error", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if user.TokenVersion >= v.heard[user.ID].token {
		v.heard[user.ID] = version{user.TokenVersion, v.now()}
	}
}

// prune forgets versions that were heard longer ago than any token lives.
func (v *Versions) prune() {
	v.mu.Lock()
	defer v.mu.Unlock()
	oldest := v.now().Add(-v.window)
	for id, heard := range v.heard {
		if heard.at.Before(oldest) {
			delete(v.heard, id)
		}
	}
}

func (v *Versions) markReady() { v.readyOnce.Do(func() { close(v.ready) }) }
