// Package bus tells the other services about users, on NATS.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

const (
	// pollEvery bounds how long news waits that another replica has made.
	pollEvery = 300 * time.Millisecond
	// checkEvery is how often the stream is looked for, so that it is there for
	// those who listen even while nobody changes.
	checkEvery = 5 * time.Second
	// soon is twice the interval at which NATS writes to its disk: what it had
	// acknowledged and lost is said again.
	soon = 5 * time.Minute
	// later is when a user is said again who has not changed.
	later = 24 * time.Hour
	// recent is how far back a reconnect says again what has changed: NATS may
	// have been away because it lost its last minutes.
	recent = time.Hour
	// lease is how long a claimed user is left alone by other replicas. Two who
	// publish the same do no harm.
	lease = 3 * time.Second
	batch = 100
	// atOnce is how many users are published at the same time.
	atOnce = 8
	// repeatsPerSecond bounds how fast all users are published again.
	repeatsPerSecond = 500
	// tries bounds how often a user is read again because another replica was
	// faster.
	tries = 10
)

// Source is what a Publisher needs of the database.
type Source interface {
	ClaimNews(ctx context.Context, limit int, lease time.Duration) ([]int64, error)
	ClaimRepeats(ctx context.Context, limit int, lease time.Duration) ([]int64, error)
	User(ctx context.Context, id int64) (auth.User, error)
	MarkPublished(ctx context.Context, id, version int64, soon, later time.Duration) error
	RepublishChanged(ctx context.Context, within time.Duration) error
	RepublishAll(ctx context.Context) error
	Stream(ctx context.Context) (string, error)
	RememberStream(ctx context.Context, created string) error
	Due(ctx context.Context) (int64, error)
}

// Publisher publishes each user that is due on users.changed.<id>.
type Publisher struct {
	source  Source
	copies  int // of the stream
	log     *slog.Logger
	js      jetstream.JetStream
	nc      *nats.Conn
	repeats *rate.Limiter
	due     atomic.Int64

	changed   chan struct{}
	connected chan struct{}

	// Only for Run's goroutine:
	stream  jetstream.Stream // nil when it has to be looked for
	trouble string           // the error that was logged last
}

// NewPublisher makes a Publisher; Run starts it. The stream has as many copies, each on a server of its own.
func NewPublisher(source Source, copies int, log *slog.Logger) *Publisher {
	return &Publisher{
		source: source, copies: copies, log: log, repeats: rate.NewLimiter(repeatsPerSecond, batch),
		changed: make(chan struct{}, 1), connected: make(chan struct{}, 1),
	}
}

// Changed wakes the publisher at once. It never blocks.
func (p *Publisher) Changed() { wake(p.changed) }

// Connected tells the publisher of a new connection. It never blocks.
func (p *Publisher) Connected() { wake(p.connected) }

// Due is the number of users that should have been published by now, a few
// seconds ago.
func (p *Publisher) Due() int64 { return p.due.Load() }

// Run publishes until ctx ends. What fails stays due.
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
			p.again(ctx)
		case <-check.C:
			p.stream = nil
			p.count(ctx)
		case <-p.changed:
		case <-poll.C:
		}
		p.step(ctx)
	}
}

// step publishes what is due. It logs a failure once, however often it is met,
// and its end when a user has been published.
func (p *Publisher) step(ctx context.Context) {
	published, err := p.runOnce(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil && err.Error() != p.trouble:
		p.trouble = err.Error()
		p.log.WarnContext(ctx, "users can't be published; trying again", "error", err)
	case err == nil && published > 0 && p.trouble != "":
		p.trouble = ""
		p.log.InfoContext(ctx, "users are published again")
	}
}

// again has said again what a server that was away may have lost.
func (p *Publisher) again(ctx context.Context) {
	if err := p.source.RepublishChanged(ctx, recent); err != nil {
		p.log.WarnContext(ctx, "users can't be published again; trying again", "error", err)
		// The poll comes first, so this does not spin.
		time.AfterFunc(pollEvery, p.Connected)
	}
}

func (p *Publisher) count(ctx context.Context) {
	due, err := p.source.Due(ctx)
	if err != nil {
		return // the next claim says so
	}
	p.due.Store(due)
}

// runOnce publishes all news, and then repeats as fast as they may come. It
// says how many it has published.
func (p *Publisher) runOnce(ctx context.Context) (int, error) {
	published := 0
	if !p.nc.IsConnected() {
		return 0, nil // it is told when that changes
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
		repeats, err := p.source.ClaimRepeats(ctx, allowed, lease)
		if err != nil {
			return published, err
		}
		p.repeats.AllowN(time.Now(), len(repeats)) // as many were there a moment ago
		if err := p.publishAll(ctx, repeats, true); err != nil {
			return published, err
		}
		published += len(repeats)
		if len(repeats) < allowed {
			return published, nil
		}
	}
}

func (p *Publisher) publishAll(ctx context.Context, ids []int64, again bool) error {
	var g errgroup.Group // without a context: one that fails must not end the others
	g.SetLimit(atOnce)
	stream := p.stream
	for _, id := range ids {
		g.Go(func() error {
			if err := p.publish(ctx, stream, id, again); err != nil {
				return fmt.Errorf("publish user %d: %w", id, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if natsconn.Missing(err) {
		p.stream = nil
	}
	return err
}

// publish says what a user is now. The order is what keeps an older state from
// covering a newer one: first the subject's last sequence, then the row, then
// the message, which NATS refuses if anything came between.
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
		return p.source.MarkPublished(ctx, id, user.Version, soon, later)
	}
}

// send publishes a message behind the last of its subject, in the trace of the
// request that changed the user.
func (p *Publisher) send(ctx context.Context, msg *nats.Msg, last uint64, again bool) error {
	ctx, span := natstrace.Send(ctx, wire.SubjectChanged, msg)
	defer span.End()
	if again {
		telemetry.Note(ctx, slog.Bool("sent_again", true))
	}
	_, err := p.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(wire.StreamUsers),
		jetstream.WithExpectLastSequencePerSubject(last), jetstream.WithRetryAttempts(0))
	if err != nil && !refused(err) {
		span.SetStatus(codes.Error, "it could not be sent; it will be sent again")
	}
	return err
}

// lastSequence is that of a subject's newest message, 0 when it has none.
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
	default: // it is awake already
	}
}
