package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"
)

const (
	probeLimit = 2 * time.Second // of a check
	probeAgain = time.Second     // of that, for the session of the previous check
)

// Probe checks whether a replica is ready, over a session of its own, so that it
// never waits for work. Checks at the same time share one.
type Probe struct {
	session    *pgx.ConnConfig
	accept     func(context.Context, *pgx.Conn) error // checks a new session
	schema     string
	migrations fs.FS
	flight     singleflight.Group

	mu     sync.Mutex // held during a check
	conn   *pgx.Conn  // of the previous check; nil for none
	closed bool
}

// NewProbe returns a Probe of a service's schema. It does not connect yet. Close
// ends it.
func NewProbe(url, service, schema string, migrations fs.FS) (*Probe, error) {
	cfg, err := configure(url, service+" probe", nil, nil)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.ConnectTimeout = probeLimit
	return &Probe{session: cfg.ConnConfig, accept: cfg.AfterConnect, schema: schema, migrations: migrations}, nil
}

// Ready returns an error unless Postgres answers within two seconds, and the
// schema is at least as new as this release requires.
func (p *Probe) Ready(ctx context.Context) error {
	// The check has a context of its own: a probe that leaves must not end it for
	// the others.
	checked := p.flight.DoChan("", func() (any, error) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeLimit)
		defer cancel()
		return nil, p.check(limited)
	})
	select {
	case r := <-checked:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("check readiness: %w", ctx.Err())
	}
}

// Pooled returns an error if the sessions that the server gives are not sessions of its
// own: a pooler is in between (see [ErrPooler]). It returns nil if there is no session
// within two seconds: a service starts before its database.
func (p *Probe) Pooled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	conn, err := p.connect(ctx)
	if errors.Is(err, ErrPooler) {
		return err
	}
	if err == nil {
		_ = conn.Close(ctx) // the connection is closed in any case
	}
	return nil
}

// connect opens a session and checks it.
func (p *Probe) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, p.session)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", refusedByPooler("DATABASE_URL", err))
	}
	if err := p.accept(ctx, conn); err != nil {
		_ = conn.Close(ctx) // the connection is closed in any case
		return nil, err
	}
	return conn, nil
}

// Close waits for a check in progress and closes the session. Later checks fail.
func (p *Probe) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.forget()
}

// check uses the session of the previous check. If that does not answer, its
// server may be gone: then check uses a new session.
func (p *Probe) check(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("the probe is closed")
	}
	if p.conn != nil {
		again, cancel := context.WithTimeout(ctx, probeAgain)
		defer cancel()
		err := CheckVersion(again, p.conn, p.schema, p.migrations)
		if !p.conn.IsClosed() {
			return err
		}
		p.forget()
	}
	conn, err := p.connect(ctx)
	if err != nil {
		return err
	}
	p.conn = conn
	return CheckVersion(ctx, conn, p.schema, p.migrations)
}

// forget closes the session, without waiting for a server that does not answer.
func (p *Probe) forget() {
	if p.conn == nil {
		return
	}
	limited, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = p.conn.Close(limited) // the connection is closed in any case
	p.conn = nil
}
