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
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/contract/wire"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/natstrace"
	"lavka/libs/service/telemetry"
)

// slack covers clocks that differ and messages under way.
const slack = 2 * time.Minute

// firstVersion is a new user's: there are no older tokens.
const firstVersion = 1

// Window is how long the version of a user matters to tokens that live that long.
func Window(tokenLifetime time.Duration) time.Duration { return tokenLifetime + slack }

// Source tells whose token versions were raised within the window, as auth's
// database knows them. The stream may be behind it: while auth could not
// publish, or after NATS has lost its store.
type Source func(ctx context.Context, tell func(userID, tokenVersion int64)) error

// Versions holds the token versions that were heard within a token's lifetime.
type Versions struct {
	js     jetstream.JetStream
	source Source
	log    *slog.Logger
	window time.Duration
	now    func() time.Time
	delays prometheus.Histogram

	ready     chan struct{}
	readyOnce sync.Once

	mu      sync.RWMutex
	heard   map[int64]version
	pruneAt time.Time
}

type version struct {
	token int64
	at    time.Time
}

// New makes Versions for tokens that live that long; Run starts the listening.
func New(js jetstream.JetStream, source Source, tokenLifetime time.Duration, log *slog.Logger, now func() time.Time) *Versions {
	return &Versions{
		js: js, source: source, log: log, window: Window(tokenLifetime), now: now,
		delays: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocation_delay_seconds", Help: "Time from a change that took tokens back until this replica heard of it.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900},
		}),
		ready: make(chan struct{}), heard: map[int64]version{},
	}
}

// Revoked reports whether a user's token of that version has been taken back.
func (v *Versions) Revoked(userID, tokenVersion int64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return tokenVersion < v.heard[userID].token
}

// Ready says whether all is known that was revoked before it listened.
func (v *Versions) Ready() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

// Loaded is closed when all is known that was revoked before it listened.
func (v *Versions) Loaded() <-chan struct{} { return v.ready }

// Known is the number of users whose version is kept.
func (v *Versions) Known() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.heard)
}

// Measure adds metrics of what is known, and of how late it came to be.
func (v *Versions) Measure(registry prometheus.Registerer) {
	registry.MustRegister(v.delays, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "revocation_known_users", Help: "Users whose newest token version is kept.",
	}, func() float64 { return float64(v.Known()) }))
}

// Run listens until ctx ends. When the consumer, the stream or the server goes
// away it starts again from the window's beginning: what it knows already does
// no harm, and what it knows stays in force meanwhile.
func (v *Versions) Run(ctx context.Context) {
	var next uint64
	natsconn.Listener{
		Name:  "token versions",
		Log:   v.log,
		Ahead: 1000,
		Fresh: v.js.Conn(),
		Open: func(ctx context.Context) (jetstream.Consumer, error) {
			next = 1
			return v.open(ctx)
		},
		Handle: func(ctx context.Context, msg jetstream.Msg) error {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("message metadata: %w", err)
			}
			if meta.Sequence.Consumer != next {
				return errors.New("a message was lost on the way")
			}
			next++
			v.hear(ctx, msg)
			return nil
		},
	}.Run(ctx)
}

// open makes a consumer of one's own. That is not nats.go's ordered consumer on
// purpose: after the stream was deleted and made again, that one would wait for
// the old sequence numbers.
func (v *Versions) open(ctx context.Context) (jetstream.Consumer, error) {
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
		return nil, fmt.Errorf("make consumer: %w", err)
	}
	if v.Ready() {
		return consumer, nil
	}
	// In this order: what comes after the source was asked is heard.
	if err := v.source(ctx, func(userID, tokenVersion int64) { v.learn(userID, tokenVersion) }); err != nil {
		return nil, fmt.Errorf("ask for what was revoked before: %w", err)
	}
	v.readyOnce.Do(func() { close(v.ready) })
	return consumer, nil
}

// hear has a line and a span for what takes tokens back, and for nothing else: each
// replica of each service hears of every user.
func (v *Versions) hear(ctx context.Context, msg jetstream.Msg) {
	user, err := wire.DecodeUserChanged(msg.Data())
	if err == nil && !v.learn(user.ID, user.TokenVersion) {
		return
	}
	ctx, processing := natstrace.Process(ctx, wire.SubjectChanged, msg.Headers(), msg.Data(), 0)
	defer processing.End(ctx, v.log, slog.LevelInfo)
	if err != nil {
		processing.Fail("a user's message can't be read", err)
		return
	}
	v.measure(user.ChangedAt)
	telemetry.Note(ctx, slog.Int64("user_id", user.ID), slog.String("outcome", "tokens revoked"))
}

// measure counts no news of tokens that have expired since: auth says every user
// again each day.
func (v *Versions) measure(changed time.Time) {
	if delay := v.now().Sub(changed); delay < v.window {
		v.delays.Observe(max(0, delay.Seconds())) // below zero by auth's clock
	}
}

// learn says whether that takes back tokens that were good before.
func (v *Versions) learn(userID, tokenVersion int64) (revoked bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now().After(v.pruneAt) {
		v.prune()
	}
	known := v.heard[userID].token
	if tokenVersion >= known {
		v.heard[userID] = version{tokenVersion, v.now()}
	}
	return tokenVersion > max(known, firstVersion)
}

// prune forgets versions that were heard longer ago than any token lives. The
// caller holds the lock.
func (v *Versions) prune() {
	v.pruneAt = v.now().Add(v.window / 2)
	oldest := v.now().Add(-v.window)
	for id, heard := range v.heard {
		if heard.at.Before(oldest) {
			delete(v.heard, id)
		}
	}
}
