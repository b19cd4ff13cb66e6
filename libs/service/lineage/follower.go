package lineage

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lavka/libs/service/pg"
)

const (
	followEvery = time.Second
	beatEvery   = 10 * time.Second
	followLimit = 5 * time.Second
)

// Follower vouches for a standby that takes over. Each replica of a service has one.
// It writes a beat every ten seconds, and when a standby becomes synchronous. When the
// timeline changes, and the last beat that the old primary has acknowledged is there,
// and that primary had a synchronous standby, then nothing that was acknowledged is
// missing: the Follower records the new timeline. In any other case it logs an error,
// and leaves the decision to an operator.
type Follower struct {
	pool   *pgxpool.Pool
	schema string
	log    *slog.Logger

	// Only for Run's goroutine:
	seen    state // of the last beat that was acknowledged; zero for none
	beatAt  time.Time
	refused bool // what is in the log already
}

// NewFollower returns a Follower; Run starts it.
func NewFollower(pool *pgxpool.Pool, schema string, log *slog.Logger) *Follower {
	return &Follower{pool: pool, schema: schema, log: log}
}

// Run follows the server until ctx ends. While the database is unreachable, it only
// tries again: others report that.
func (f *Follower) Run(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for failing := false; ; {
		err := f.runOnce(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			f.log.DebugContext(ctx, "can't follow the database's timeline; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *Follower) runOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	s, err := read(ctx, f.pool, f.schema)
	if err != nil {
		return err
	}
	if !s.moved() {
		f.refused = false
		// A standby that has just become synchronous may have to take over soon.
		if time.Since(f.beatAt) < beatEvery && s.Synchronous == f.seen.Synchronous {
			return nil
		}
		return f.beat(ctx, s)
	}
	if f.witnessed(s) {
		if _, err := f.pool.Exec(ctx, `UPDATE `+table(f.schema)+` SET timeline = $1 WHERE timeline = $2`, s.Here.Timeline, s.Served.Timeline); err != nil {
			return pg.Wrap("record the timeline", err)
		}
		f.log.WarnContext(ctx, "a standby has taken over; everything that was acknowledged is there", "timeline", s.Here.Timeline)
		return nil
	}
	if !f.refused {
		f.refused = true
		f.log.ErrorContext(ctx, s.sentence(f.schema))
	}
	return nil
}

func (f *Follower) beat(ctx context.Context, s state) error {
	err := f.pool.QueryRow(ctx, `UPDATE `+table(f.schema)+` SET beat = beat + 1 RETURNING beat`).Scan(&s.Beat)
	if err != nil {
		return pg.Wrap("write a beat", err)
	}
	f.seen, f.beatAt = s, time.Now()
	return nil
}

// witnessed reports whether this replica has seen that nothing is missing.
func (f *Follower) witnessed(s state) bool {
	return f.seen.Synchronous && f.seen.Served == s.Served && s.Beat >= f.seen.Beat &&
		s.Here.System == s.Served.System && s.Here.Table == s.Served.Table && s.Here.Timeline > s.Served.Timeline
}
