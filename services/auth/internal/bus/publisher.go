// Package bus publishes users to the other services over NATS.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/codes"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"lavka/libs/contract/wire"
	"lavka/libs/service/natsconn"
	"lavka/libs/service/natstrace"
	"lavka/libs/service/serving"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

const (
	// pollEvery limits how long a change made by another replica waits if that
	// replica does not publish it.
	pollEvery = 300 * time.Millisecond
	// checkEvery is how often the stream is checked, so that it exists for its
	// consumers even while no user changes.
	checkEvery = 5 * time.Second
	// soon is when a published change is republished, in case NATS acknowledged it
	// and lost it: more than twice the interval at which NATS syncs to disk (2 min).
	soon = 5 * time.Minute
	// later is when a user that has not changed since is republished.
	later = 24 * time.Hour
	// recent is how far back changes are republished after a reconnect: NATS may
	// have lost its last minutes.
	recent = time.Hour
	// fillPart is how many users of a new stream are made due together, whenever no
	// other repeats are due.
	fillPart = 500
	// lease is how long other replicas skip a claimed user. It is harmless if two
	// replicas publish the same user.
	lease = 3 * time.Second
	batch = 100
	// atOnce is how many users are published concurrently.
	atOnce = 8
	// repeatsPerSecond limits how fast users are republished.
	repeatsPerSecond = 500
	// tries is how often a user is read and sent before giving up, when another
	// replica publishes the same user in between.
	tries = 10
)

// Source is the part of the database that a Publisher needs.
type Source interface {
	ClaimNews(ctx context.Context, limit int, lease time.Duration) ([]int64, error)
	ClaimRepeats(ctx context.Context, limit int, lease time.Duration) ([]int64, error)
	User(ctx context.Context, id int64) (auth.User, error)
	MarkPublished(ctx context.Context, id, version int64, lease, soon, later time.Duration) error
	Now(ctx context.Context) (time.Time, error)
	Changes(ctx context.Context, since time.Time, before auth.Change, limit int) ([]auth.Change, error)
	Fill(ctx context.Context, created string, limit int) (progress, done bool, err error)
	Stream(ctx context.Context) (string, error)
	RememberStream(ctx context.Context, created string) error
	Due(ctx context.Context) (int64, error)
}

// Publisher publishes every user that is due, on users.changed.<id>.
type Publisher struct {
	failure serving.Failure
	source  Source
	copies  int // replicas of the stream
	log     *slog.Logger
	js      jetstream.JetStream
	nc      *nats.Conn
	repeats *rate.Limiter
	due     atomic.Int64
	done    atomic.Int64

	changed   chan struct{}
	connected chan struct{}

	// Only for Run's goroutine:
	stream  jetstream.Stream // nil when it has to be checked
	lost    bool             // NATS may have lost recent changes: they have to be republished
	again   *again           // those that remain, nil for none
	filling string           // the stream that is being filled, "" for none
	trouble string           // the error that was logged last
}

// again is a walk through the users that changed in the hour before a time, the
// latest change first: its token may be valid yet. It locks no rows.
type again struct {
	since time.Time
	next  auth.Change // the walk goes on below it
	begun time.Time
}

// NewPublisher returns a Publisher; Run starts it. The stream is created with the
// given number of copies, each on a different NATS server.
func NewPublisher(source Source, copies int, log *slog.Logger) *Publisher {
	return &Publisher{
		source: source, copies: copies, log: log, repeats: rate.NewLimiter(repeatsPerSecond, batch),
		changed: make(chan struct{}, 1), connected: make(chan struct{}, 1),
	}
}

// Changed wakes the publisher immediately. It never blocks.
func (p *Publisher) Changed() { wake(p.changed) }

// Connected notifies the publisher of a new connection. It never blocks.
func (p *Publisher) Connected() { wake(p.connected) }

// Due returns the number of users that should have been published by now, as
// counted a few seconds ago.
func (p *Publisher) Due() int64 { return p.due.Load() }

// Published returns how many states of users this replica has published since its
// start.
func (p *Publisher) Published() int64 { return p.done.Load() }

// Run publishes until ctx ends. A user that can't be published stays due.
func (p *Publisher) Run(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) {
	p.nc, p.js = nc, js
	poll, check := time.NewTicker(pollEvery), time.NewTicker(checkEvery)
	defer poll.Stop()
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.connected:
			p.stream = nil
			p.lost = true
		case <-check.C:
			p.stream = nil
			p.count(ctx)
		case <-p.changed:
		case <-poll.C:
		}
		p.step(ctx)
	}
}

// Failure returns why users could not be published at the last failed attempt, or nil.
// Without the stream USERS no replica can read token versions.
func (p *Publisher) Failure() error { return p.failure.Last() }

// step publishes the users that are due. It logs a failure once, however often it
// repeats, and the recovery when a user has been published.
func (p *Publisher) step(ctx context.Context) {
	published, err := p.runOnce(ctx)
	p.failure.Set(err)
	switch {
	case ctx.Err() != nil:
	case err != nil && err.Error() != p.trouble:
		p.trouble = err.Error()
		p.log.WarnContext(ctx, "can't publish users; retrying", "error", err)
	case err == nil && published > 0 && p.trouble != "":
		p.trouble = ""
		p.log.InfoContext(ctx, "users are being published again")
	}
}

func (p *Publisher) count(ctx context.Context) {
	due, err := p.source.Due(ctx)
	if err != nil {
		return // the next claim reports it
	}
	p.due.Store(due)
}

// runOnce publishes all changes, and then republishes users within the rate limit.
// It returns the number of users published.
func (p *Publisher) runOnce(ctx context.Context) (int, error) {
	published := 0
	if !p.nc.IsConnected() {
		return 0, nil // Connected wakes the publisher
	}
	if p.stream == nil {
		stream, err := p.ensureStream(ctx)
		if err != nil {
			return 0, err
		}
		p.stream = stream
	}
	for {
		news, err := p.source.ClaimNews(ctx, batch, lease)
		if err != nil {
			return published, err
		}
		if err := p.publishAll(ctx, news, false); err != nil {
			return published, err
		}
		published += len(news)
		if len(news) == batch {
			continue
		}
		allowed := min(int(p.repeats.Tokens()), batch)
		if allowed < 1 {
			return published, nil
		}
		n, more, err := p.repeat(ctx, allowed)
		published += n
		if err != nil || !more {
			return published, err
		}
	}
}

// repeat republishes at most limit users: first those that changed recently, whose
// tokens may be revoked, then those that are due, then those that a new stream lacks.
// It reports whether there may be more.
func (p *Publisher) repeat(ctx context.Context, limit int) (published int, more bool, err error) {
	if p.lost {
		now, err := p.source.Now(ctx)
		if err != nil {
			return 0, false, err
		}
		p.lost = false
		p.again = &again{since: now.Add(-recent), begun: now, next: auth.Change{UserID: math.MaxInt64, At: now}}
	}
	if p.again != nil {
		published, err := p.republish(ctx, limit)
		return published, true, err
	}
	due, err := p.source.ClaimRepeats(ctx, limit, lease)
	if err != nil {
		return 0, false, err
	}
	p.repeats.AllowN(time.Now(), len(due)) // never refused: that many tokens were available
	if err := p.publishAll(ctx, due, true); err != nil {
		return 0, false, err
	}
	if len(due) > 0 || p.filling == "" {
		return len(due), len(due) == limit || p.filling != "", nil
	}
	progress, err := p.fill(ctx)
	return 0, progress, err
}

// republish publishes the next recent changes. One that fails is tried again.
func (p *Publisher) republish(ctx context.Context, limit int) (int, error) {
	changes, err := p.source.Changes(ctx, p.again.since, p.again.next, limit)
	if err != nil {
		return 0, err
	}
	ids := []int64{}
	for _, change := range changes {
		// Another replica, which reconnected too, may have republished the user since. A
		// publish that began before takes at most the lease.
		if change.PublishAt.Before(p.again.begun.Add(lease + later)) {
			ids = append(ids, change.UserID)
		}
	}
	p.repeats.AllowN(time.Now(), len(ids))
	if err := p.publishAll(ctx, ids, true); err != nil {
		return 0, err
	}
	if len(changes) < limit {
		p.again = nil
	} else {
		p.again.next = changes[len(changes)-1]
	}
	return len(ids), nil
}

// fill makes the next users due that the new stream lacks, and reports whether it
// could.
func (p *Publisher) fill(ctx context.Context) (progress bool, err error) {
	progress, done, err := p.source.Fill(ctx, p.filling, fillPart)
	if err != nil || !done {
		return progress, err
	}
	if err := p.source.RememberStream(ctx, p.filling); err != nil {
		return false, err
	}
	p.log.InfoContext(ctx, "all users have been republished", "created", p.filling)
	p.filling = ""
	return false, nil
}

func (p *Publisher) publishAll(ctx context.Context, ids []int64, again bool) error {
	var g errgroup.Group // without a context: a failure must not cancel the others
	g.SetLimit(atOnce)
	stream := p.stream
	for _, id := range ids {
		g.Go(func() error {
			if err := p.publish(ctx, stream, id, again); err != nil {
				return fmt.Errorf("publish user %d: %w", id, err)
			}
			p.done.Add(1)
			return nil
		})
	}
	err := g.Wait()
	if natsconn.Missing(err) {
		p.stream = nil
	}
	return err
}

// publish publishes the current state of a user. The order keeps an older state from
// overwriting a newer one: it reads the subject's last sequence, then the row, and
// then sends the message, which NATS refuses if another one came in between.
func (p *Publisher) publish(ctx context.Context, stream jetstream.Stream, id int64, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	subject := wire.SubjectChanged + "." + strconv.FormatInt(id, 10)
	for try := 1; ; try++ {
		last, err := lastSequence(ctx, stream, subject)
		if err != nil {
			return err
		}
		user, err := p.source.User(ctx, id)
		if err != nil {
			return err
		}
		data, err := wire.Encode(message(user))
		if err != nil {
			return err
		}
		err = p.send(telemetry.WithTraceparent(ctx, user.Trace), &nats.Msg{Subject: subject, Data: data}, last, again)
		if refused(err) && try < tries {
			continue
		}
		if err != nil {
			return err
		}
		return p.source.MarkPublished(ctx, id, user.Version, lease, soon, later)
	}
}

// send publishes a message, in the trace of the request that changed the user. NATS
// refuses it unless last is the subject's last sequence.
func (p *Publisher) send(ctx context.Context, msg *nats.Msg, last uint64, again bool) error {
	ctx, span := natstrace.Send(ctx, wire.SubjectChanged, msg)
	defer span.End()
	if again {
		telemetry.Note(ctx, slog.Bool("sent_again", true))
	}
	_, err := p.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(wire.StreamUsers),
		jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithRetryAttempts(0))
	if err != nil && !refused(err) {
		span.SetStatus(codes.Error, "the message could not be sent; it will be retried")
	}
	return err
}

// lastSequence returns the sequence of a subject's last message, 0 if there is none.
func lastSequence(ctx context.Context, stream jetstream.Stream, subject string) (uint64, error) {
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return msg.Sequence, nil
}

func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func message(u auth.User) wire.UserChanged {
	return wire.UserChanged{
		V: wire.Version, ID: u.ID, Login: u.Login, Role: string(u.Role), Status: string(u.Status()),
		Version: u.Version, TokenVersion: u.TokenVersion, CreatedAt: u.CreatedAt.UTC(), ChangedAt: u.ChangedAt.UTC(),
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // already pending
	}
}
