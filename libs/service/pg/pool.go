// Package pg opens Postgres the way every service here uses it: sessions with
// limits, so that a frozen replica can't hold what others need, and errors
// sorted by what is to be done about them.
package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
)

// Settings of every session. A transaction that is idle for two seconds belongs
// to a replica that froze; a lock that is not had within a quarter of a second
// is somebody else's trouble for now.
var sessionSettings = map[string]string{
	"idle_in_transaction_session_timeout": "2000",
	"lock_timeout":                        "250",
	"statement_timeout":                   "5000",
	"client_connection_check_interval":    "1000",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
	"timezone":                            "UTC",
	// A page from anywhere costs little more than the next one, wherever there is
	// no turning disk: groups look up their rows by keys, and never read a table.
	"random_page_cost": "1.1",
}

// groupSettings are those of sessions that settle groups, beside the others. What
// a group does finds a few hundred rows by their keys, whatever else is in the
// tables: one plan is right for ever, and this is the only one left. Otherwise the
// server would make a plan for each group, a third of its work for a lone
// purchase, or keep one from when a table was small and could be read as a whole.
var groupSettings = map[string]string{
	"plan_cache_mode":  "force_generic_plan",
	"enable_seqscan":   "off",
	"enable_hashjoin":  "off",
	"enable_mergejoin": "off",
}

// OpenForGroups is [Open] for transactions that settle groups, all of whose
// statements look up rows by keys.
func OpenForGroups(ctx context.Context, url, service string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, service, maxConns, groupSettings)
}

// Open makes a pool of at most maxConns sessions for a service. It does not
// wait for the server: a pool connects when it is used.
func Open(ctx context.Context, url, service string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, service, maxConns, nil)
}

func open(ctx context.Context, url, service string, maxConns int32, more map[string]string) (*pgxpool.Pool, error) {
	if url == "" {
		return nil, errors.New("DATABASE_URL is not set")
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil || !plain(cfg.ConnConfig) {
		// The library's text repeats the URL, with its password redacted or not.
		return nil, errors.New("DATABASE_URL can't be read as a Postgres URL")
	}
	for _, settings := range []map[string]string{sessionSettings, more} {
		maps.Copy(cfg.ConnConfig.RuntimeParams, settings)
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = service
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	// Only where a trace is recorded, and never with the values of parameters.
	cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithDisableConnectionDetailsInAttributes())
	cfg.MaxConns = maxConns
	cfg.PingTimeout = time.Second // of a session that was idle: its server may have vanished
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.HealthCheckPeriod = 15 * time.Second
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // else every UUID goes by way of its text
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// plain says whether user and database are plain names. They stand in errors
// and in the server's log, and a URL that is not what it should be leaves parts
// of a password in them.
func plain(cfg *pgx.ConnConfig) bool { return !strings.ContainsAny(cfg.User+cfg.Database, ":/?#@") }

// InTx runs f in a transaction and commits it, or rolls it back when f fails. An
// error for which [CommitUnknown] is true leaves open whether it was committed:
// ask the database again.
func InTx(ctx context.Context, pool *pgxpool.Pool, f func(*Tx) error) error {
	tx, err := Begin(ctx, pool)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
