package link_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
	"lavka/tests/faults/link"
)

// along leads a URL along a new link to where it points.
func along(t *testing.T, rawURL string) (*link.Link, string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	must(t, err)
	l, err := link.New(u.Host)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	through, err := l.Through(rawURL)
	must(t, err)
	return l, through
}

// postgres is a client of Postgres along a link, and one beside it.
type postgres struct {
	*link.Link
	t      *testing.T
	url    string
	beside *pgx.Conn
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	db := pgtest.New(t)
	p := &postgres{t: t}
	p.Link, p.url = along(t, db.AdminURL())
	var err error
	p.beside, err = pgx.Connect(t.Context(), db.AdminURL())
	must(t, err)
	t.Cleanup(func() { must(t, p.beside.Close(context.WithoutCancel(t.Context()))) })
	return p
}

func (p *postgres) connect() *pgx.Conn {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), p.url)
	must(p.t, err)
	// It may be broken by then, which is no error.
	p.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(p.t.Context())) })
	return conn
}

// there says whether Postgres still has a connection's session.
func (p *postgres) there(c *pgx.Conn) (there bool) {
	p.t.Helper()
	must(p.t, p.beside.QueryRow(p.t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, c.PgConn().PID()).Scan(&there))
	return there
}

// within runs a statement with a limit.
func within(t *testing.T, c *pgx.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := c.Exec(ctx, `SELECT 1`)
	return err
}

func TestPostgresCut(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	conn := p.connect()
	must(t, within(t, conn, patience))
	must(t, p.Cut())
	if err := within(t, conn, patience); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a statement after the cut: %v", err)
	}
	if c, err := pgx.Connect(t.Context(), p.url); err == nil {
		t.Errorf("connected along a link that is cut: %v", c)
	}
	waittest.Eventually(t, "Postgres has ended the session", func() bool { return !p.there(conn) })
	must(t, p.Heal())
	must(t, within(t, p.connect(), patience))
}

func TestPostgresInABlackHole(t *testing.T) {
	t.Parallel()
	for _, d := range []link.Direction{link.Up, link.Down, link.Both} {
		p := newPostgres(t)
		conn := p.connect()
		_, err := conn.Exec(t.Context(), `BEGIN`)
		must(t, err)
		p.Blackhole(d)
		if err := within(t, conn, moment); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d: a statement in the dark: %v", d, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), moment)
		if _, err := pgx.Connect(ctx, p.url); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d: to connect in the dark: %v", d, err)
		}
		cancel()
		// The client gives up its connection. Where that news is lost,
		// Postgres keeps the session, with its transaction and its locks.
		must(t, conn.PgConn().Conn().Close())
		if d == link.Down {
			waittest.Eventually(t, "Postgres has ended the session", func() bool { return !p.there(conn) })
		} else if !p.there(conn) {
			t.Errorf("%d: Postgres knows that the client is gone", d)
		}
		must(t, p.Heal())
		waittest.Eventually(t, "Postgres has ended the session", func() bool { return !p.there(conn) })
		must(t, within(t, p.connect(), patience))
	}
}

func TestPostgresSlow(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	conn := p.connect()
	p.Slow(50*time.Millisecond, 20*time.Millisecond)
	began := time.Now()
	must(t, within(t, conn, patience))
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("there and back in %v", took)
	}
	p.Slow(time.Hour, 0)
	answered := make(chan error, 1)
	go func() { answered <- within(t, conn, patience) }()
	select {
	case err := <-answered:
		t.Fatalf("answered along a link that holds everything: %v", err)
	case <-time.After(moment):
	}
	must(t, p.Heal())
	must(t, <-answered)
}

// connectNATS returns a client that soon detects a server that does not respond,
// and a channel with the reasons why its connections ended.
func connectNATS(t *testing.T, url string) (*nats.Conn, <-chan error) {
	t.Helper()
	ended := make(chan error, 100)
	nc, err := natstest.Connect(url, nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { ended <- err }), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.PingInterval(500*time.Millisecond), nats.MaxPingsOutstanding(2), nats.Timeout(5*time.Second))
	must(t, err)
	t.Cleanup(nc.Close)
	return nc, ended
}

func TestNATSCut(t *testing.T) {
	t.Parallel()
	l, url := along(t, natstest.Start(t).URL)
	nc, ended := connectNATS(t, url)
	must(t, l.Cut())
	if err := <-ended; errors.Is(err, nats.ErrStaleConnection) {
		t.Errorf("the connection ended with %v", err)
	}
	if _, err := natstest.Connect(url); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("to connect along a link that is cut: %v", err)
	}
	must(t, l.Heal())
	waittest.Eventually(t, "connected again", nc.IsConnected)
	must(t, nc.FlushTimeout(patience))
	if n := nc.Stats().Reconnects; n != 1 {
		t.Errorf("%d reconnects", n)
	}
}

func TestNATSInABlackHole(t *testing.T) {
	t.Parallel()
	for _, d := range []link.Direction{link.Up, link.Down, link.Both} {
		server := natstest.Start(t)
		l, url := along(t, server.URL)
		beside, _ := connectNATS(t, server.URL)
		nc, ended := connectNATS(t, url)
		sub, err := beside.SubscribeSync("x")
		must(t, err)
		must(t, beside.FlushTimeout(patience))

		l.Blackhole(d)
		must(t, nc.Publish("x", []byte("in the dark")))
		if _, err := sub.NextMsg(moment); (err == nil) != (d == link.Down) {
			t.Errorf("%d: published in the dark: %v", d, err)
		}
		if err := <-ended; !errors.Is(err, nats.ErrStaleConnection) {
			t.Errorf("%d: the connection ended with %v", d, err)
		}
		if _, err := natstest.Connect(url, nats.Timeout(moment)); err == nil {
			t.Errorf("%d: connected in the dark", d)
		}
		must(t, l.Heal())
		waittest.Eventually(t, "connected again", nc.IsConnected)
		must(t, nc.Publish("x", []byte("back")))
		m, err := sub.NextMsg(patience)
		if err != nil || string(m.Data) != "back" {
			t.Errorf("%d: after healing came %v, %v", d, m, err)
		}
	}
}

func TestNATSSlow(t *testing.T) {
	t.Parallel()
	l, url := along(t, natstest.Start(t).URL)
	nc, err := natstest.Connect(url)
	must(t, err)
	t.Cleanup(nc.Close)
	l.Slow(50*time.Millisecond, 20*time.Millisecond)
	began := time.Now()
	must(t, nc.FlushTimeout(patience))
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("there and back in %v", took)
	}
}
