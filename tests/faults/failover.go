package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"lavka/libs/host/pgserver"
	"lavka/libs/service/pgconfig"
	"lavka/tests/faults/link"
)

// failover gives the database a synchronous standby, cuts it off so that commits
// wait, ends the sessions that wait, loses the primary for good, and moves the
// primary's address to the standby. Everything that was answered must be on it.
//
// An ended session leaves its transaction committed on the primary only
// (PostgreSQL, "Synchronous Replication"): a service that answers a repeat from
// what is visible there promises more than the standby has.
func failover(ctx context.Context, t *trial) (err error) {
	standby, line, err := t.standby(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, line.Close()) }()
	if err := t.vouched(ctx); err != nil {
		return err
	}
	if err := last(ctx, time.Second); err != nil {
		return err
	}
	line.Blackhole(link.Both)
	for end := time.Now().Add(t.span(4*time.Second, 12*time.Second)); time.Now().Before(end); {
		if err := errors.Join(t.sql(ctx, endSessions), last(ctx, 300*time.Millisecond)); err != nil {
			return err
		}
	}
	u, err := url.Parse(t.AdminDatabaseURL())
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return err
	}
	if err := t.Postgres().Crash(); err != nil {
		return err
	}
	// Like an operator after the loss of a machine: promote, and move the address.
	if err := promote(ctx, standby.URL("postgres")); err != nil {
		return err
	}
	t.failedOver = t.rec.Now()
	if err := standby.Stop(); err != nil {
		return err
	}
	t.after, err = pgserver.Start(ctx, pgserver.Config{Dir: t.standbyDir(), Port: port})
	return err
}

// vouched waits until replicas of each service have written a beat that the standby has: without one, no replica could say after the takeover that
// nothing is missing, and verify would fail.
func (t *trial) vouched(ctx context.Context) error {
	const beats = `SELECT ARRAY[(SELECT beat FROM auth.lineage), (SELECT beat FROM billing.lineage), (SELECT beat FROM catalog.lineage)]`
	before, err := value[[]int64](ctx, t.shop, beats)
	if err != nil {
		return err
	}
	return await(ctx, "beats that the standby has", func() bool {
		now, err := value[[]int64](ctx, t.shop, beats)
		if err != nil {
			return false
		}
		for i := range now {
			if now[i] <= before[i]+1 { // the first may have been on its way before the standby was synchronous
				return false
			}
		}
		return true
	})
}

func (s *shop) standbyDir() string { return filepath.Join(s.dir, "standby") }

// standby starts a synchronous standby: every commit waits for it. The returned
// link is the one between the two servers.
func (t *trial) standby(ctx context.Context) (*pgserver.Server, *link.Link, error) {
	primary, err := url.Parse(t.AdminDatabaseURL())
	if err != nil {
		return nil, nil, err
	}
	primary.Path, primary.RawQuery = "", ""
	line, err := link.New(primary.Host)
	if err != nil {
		return nil, nil, err
	}
	dir := t.standbyDir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	password, err := os.ReadFile(filepath.Join(t.dir, "data", "postgres", "password"))
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), password, 0o600); err != nil {
		return nil, nil, err
	}
	bin, err := pgserver.FindBinaries()
	if err != nil {
		return nil, nil, err
	}
	copying := exec.CommandContext(ctx, filepath.Join(bin.Dir, "pg_basebackup"), "--pgdata="+filepath.Join(dir, "data"), "--dbname="+primary.String(), "--checkpoint=fast", "--write-recovery-conf")
	copying.Env = pgserver.Environment()
	if out, err := copying.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("copy the database: %w: %s", err, out)
	}
	host, port, err := net.SplitHostPort(line.Addr())
	if err != nil {
		return nil, nil, err
	}
	secret, _ := primary.User.Password()
	server, err := pgserver.Start(ctx, pgserver.Config{Dir: dir, Settings: map[string]string{
		"primary_conninfo": fmt.Sprintf("host=%s port=%s user=%s password=%s application_name=standby", host, port, primary.User.Username(), secret),
	}})
	if err != nil {
		return nil, nil, err
	}
	if err := t.sql(ctx, `ALTER SYSTEM SET synchronous_standby_names = 'standby'`); err != nil {
		return nil, nil, err
	}
	if err := t.sql(ctx, `SELECT pg_reload_conf()`); err != nil {
		return nil, nil, err
	}
	return server, line, await(ctx, "the standby to be synchronous", func() bool {
		sync, err := value[bool](ctx, t.shop, `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')`)
		return err == nil && sync
	})
}

func promote(ctx context.Context, url string) error {
	conn, err := pgconfig.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("promote the standby: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var done bool
	if err := conn.QueryRow(ctx, `SELECT pg_promote()`).Scan(&done); err != nil || !done {
		return fmt.Errorf("promote the standby: %v, %w", done, err)
	}
	return nil
}
