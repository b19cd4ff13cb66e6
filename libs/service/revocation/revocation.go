// Package revocation tracks which tokens have been revoked. Every replica of every
// service reads users' token versions from the USERS stream and keeps them in
// memory: a token with a lower version is refused, without a database read.
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
	"lavka/libs/service/serving"
	"lavka/libs/service/telemetry"
)

// slack allows for clock differences and messages in flight.
const slack = 2 * time.Minute

// firstVersion is a new user's token version: there are no older tokens to revoke.
const firstVersion = 1

// Window returns how long a user's token version must be remembered, given the
// lifetime of tokens.
func Window(tokenLifetime time.Duration) time.Duration { return tokenLifetime + slack }

// Source calls report for each user whose token version was raised within the window,
// according to auth's database. The stream may lag behind the database: if auth
// could not publish, or after NATS has lost its store.
type Source func(ctx context.Context, report func(userID, tokenVersion int64)) error

// Versions holds the token versions received within a token's lifetime.
type Versions struct {
	js     jetstream.JetStream
	source Source
	log    *slog.Logger
	window time.Duration
	now    func() time.Time
	delays prometheus.Histogram

	ready     chan struct{}
	readyOnce sync.Once
	failure   serving.Failure

	mu      sync.RWMutex
	latest  map[int64]version
	pruneAt time.Time
}

type version struct {
	token int64
	at    time.Time
}

// New returns Versions for tokens of that lifetime. Run starts listening.
func New(js jetstream.JetStream, source Source, tokenLifetime time.Duration, log *slog.Logger, now func() time.Time) *Versions {
	return &Versions{
		js: js, source: source, log: log, window: Window(tokenLifetime), now: now,
		delays: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "revocation_delay_seconds", Help: "Time from a change that revoked tokens until this replica received it.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900},
		}),
		ready: make(chan struct{}), latest: map[int64]version{},
	}
}

// Revoked reports whether a user's token of that version has been revoked.
func (v *Versions) Revoked(userID, tokenVersion int64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return tokenVersion < v.latest[userID].token
}

// Ready reports whether all earlier revocations are known.
func (v *Versions) Ready() bool {
	select {
	case <-v.ready:
		return true
	default:
		return false
	}
}

// Loaded returns a channel that is closed when all earlier revocations are known.
func (v *Versions) Loaded() <-chan struct{} { return v.ready }

// Failure returns why earlier revocations could not be read at the last attempt, or nil.
func (v *Versions) Failure() error { return natsconn.Because(v.js.Conn(), v.failure.Last()) }

// Known returns the number of users whose token version is kept.
func (v *Versions) Known() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.latest)
}

// Measure registers metrics of how many users are known and of how late revocations
// arrive.
func (v *Versions) Measure(registry prometheus.Registerer) {
	registry.MustRegister(v.delays, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "revocation_known_users", Help: "Users whose latest token version is kept.",
	}, func() float64 { return float64(v.Known()) }))
}

// Run listens until ctx ends. If the consumer, the stream or the server goes away,
// it starts again from the beginning of the window. Receiving known versions again
// is harmless, and until then they stay in force.
func (v *Versions) Run(ctx context.Context) {
	var next uint64
	natsconn.Listener{
		Name:   "token versions",
		Log:    v.log,
		Ahead:  1000,
		Fresh:  v.js.Conn(),
		Failed: v.failure.Set,
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
				return errors.New("a message was lost in transit")
			}
			next++
			v.receive(ctx, msg)
			return nil
		},
	}.Run(ctx)
}

// open creates a consumer for this replica alone. It is deliberately not nats.go's
// ordered consumer: after the stream was deleted and created again, that one would
// wait for the old sequence numbers.
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
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	if v.Ready() {
		return consumer, nil
	}
	// Ask the source only once the consumer exists, so that no change is missed between them.
	if err := v.source(ctx, func(userID, tokenVersion int64) { v.update(userID, tokenVersion) }); err != nil {
		return nil, fmt.Errorf("load earlier revocations: %w", err)
	}
	v.readyOnce.Do(func() { close(v.ready) })
	return consumer, nil
}

// receive handles a message from the stream. It writes a log line and a span only if the
// message revokes tokens or can't be read: each replica of each service receives every
// user.
func (v *Versions) receive(ctx context.Context, msg jetstream.Msg) {
	user, err := wire.DecodeUserChanged(msg.Data())
	if err == nil && !v.update(user.ID, user.TokenVersion) {
		return
	}
	if latest, ok := wire.UserTokenVersion(msg.Data()); err != nil && ok {
		v.update(latest.UserID, latest.TokenVersion)
	}
	ctx, processing := natstrace.Process(ctx, wire.SubjectChanged, msg.Headers(), msg.Data(), 0)
	defer processing.End(ctx, v.log, slog.LevelInfo)
	if err != nil {
		processing.Fail("can't read a user message", err)
		return
	}
	v.measure(user.ChangedAt)
	telemetry.Note(ctx, slog.Int64("user_id", user.ID), slog.String("outcome", "tokens revoked"))
}

// measure ignores changes so old that the tokens have expired since: auth republishes
// every user each day.
func (v *Versions) measure(changed time.Time) {
	if delay := v.now().Sub(changed); delay < v.window {
		v.delays.Observe(max(0, delay.Seconds())) // negative if auth's clock is ahead
	}
}

// update keeps a user's token version unless a higher one is known, and reports whether
// that revokes tokens that were valid before.
func (v *Versions) update(userID, tokenVersion int64) (revoked bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now().After(v.pruneAt) {
		v.prune()
	}
	known := v.latest[userID].token
	if tokenVersion >= known {
		v.latest[userID] = version{tokenVersion, v.now()}
	}
	return tokenVersion > max(known, firstVersion)
}

// prune forgets versions that were received longer ago than any token lives. The
// caller must hold the lock.
func (v *Versions) prune() {
	v.pruneAt = v.now().Add(v.window / 2)
	oldest := v.now().Add(-v.window)
	for id, latest := range v.latest {
		if latest.at.Before(oldest) {
			delete(v.latest, id)
		}
	}
}
