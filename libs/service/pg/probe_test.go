package pg_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/waittest"
)

// A replica all of whose sessions are in use is ready, and the sessions of its
// probe are one, however many ask.
func TestTheProbeHasItsOwnSession(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin, err := pgx.Connect(t.Context(), db.AdminURL())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(t.Context()))
	if _, err := admin.Exec(t.Context(), `CREATE TABLE shelf.schema_version (version_id bigint, is_applied boolean); INSERT INTO shelf.schema_version VALUES (1, true)`); err != nil {
		t.Fatal(err)
	}
	pools := openPools(t, db)
	for range 4 { // as many as it may have
		conn, err := pools.Writes.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	probe, err := pg.NewProbe(db.AdminURL(), "test", "shelf", migrations("SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(probe.Close)
	var sessions int
	of := `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'test probe @%' AND datname = current_database()`
	left, leave := context.WithCancel(t.Context())
	leave()
	if err := probe.Ready(left); err == nil {
		t.Error("ready for a probe that has left")
	}
	waittest.Eventually(t, "its check goes on, since it may be others' too", func() bool {
		return admin.QueryRow(t.Context(), of).Scan(&sessions) == nil && sessions == 1
	})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			for range 5 {
				if err := probe.Ready(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := admin.QueryRow(t.Context(), of).Scan(&sessions); err != nil || sessions != 1 {
		t.Errorf("%d sessions, %v", sessions, err)
	}

	// The server ends the session: the next check has a new one.
	if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'test probe @%'`); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the session is gone", func() bool {
		return admin.QueryRow(t.Context(), of).Scan(&sessions) == nil && sessions == 0
	})
	var checks int // counted when a session ends
	if err := admin.QueryRow(t.Context(), `SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'shelf.schema_version'::regclass`).Scan(&checks); err != nil || checks == 0 || checks > 250 {
		t.Errorf("500 calls, 100 at the same time, made %d checks: %v", checks, err)
	}
	if err := probe.Ready(t.Context()); err != nil {
		t.Errorf("after the session has ended: %v", err)
	}
	if _, err := admin.Exec(t.Context(), `DELETE FROM shelf.schema_version`); err != nil {
		t.Fatal(err)
	}
	fresh, err := pg.NewProbe(db.AdminURL(), "test", "shelf", migrations("SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fresh.Close)
	for what, p := range map[string]*pg.Probe{"with a session": probe, "without one": fresh} {
		if err := p.Ready(t.Context()); err == nil {
			t.Errorf("ready with an older schema, %s", what)
		}
	}
	probe.Close()
	if err := probe.Ready(t.Context()); err == nil {
		t.Error("ready after Close")
	}
}

// A check is an answer within two seconds, also without a server that answers.
func TestTheProbeIsBounded(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	u := url.URL{Scheme: "postgres", User: url.UserPassword("shelf", "secret"), Host: silent.Addr().String(), Path: "/lavka", RawQuery: "sslmode=disable"}
	probe, err := pg.NewProbe(u.String(), "test", "shelf", migrations("SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(probe.Close)
	begin := time.Now()
	if err := probe.Ready(t.Context()); err == nil {
		t.Error("ready without a server")
	}
	if took := time.Since(begin); took > 15*time.Second { // without a limit it would wait for minutes
		t.Errorf("it took %v", took)
	}
}
