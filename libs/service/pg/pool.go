// Package pg is how services use Postgres: sessions with limits, so that a frozen
// replica can't hold locks that others need, and errors classified by how a caller
// must react.
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

// sessionLimits end what a frozen replica holds. A transaction that is idle for
// two seconds belongs to a frozen replica; a lock not acquired within 250 ms is
// left for a later attempt. A debugger freezes a replica too, so the URL's own
// parameters override these limits (see CONTRIBUTING.md).
var sessionLimits = map[string]string{
	"idle_in_transaction_session_timeout": "2000",
	"lock_timeout":                        "250",
	"statement_timeout":                   "5000",
}

// sessionSettings are the other settings of every session.
var sessionSettings = map[string]string{
	"client_connection_check_interval": "1000",
	"tcp_keepalives_idle":              "5",
	"tcp_keepalives_interval":          "2",
	"tcp_keepalives_count":             "3",
	"timezone":                         "UTC",
	// On SSDs a random page costs little more than the next one. Groups look rows
	// up by key and never scan a table.
	"random_page_cost": "1.1",
}

// groupSettings are added for sessions that settle groups. A group finds a few
// hundred rows by key, whatever the size of the tables, so one plan is always
// right, and these settings leave no other. Without them the server would plan
// every group, a third of its work for a single purchase, or keep a plan from
// when a table was small enough to scan.
var groupSettings = map[string]string{
	"plan_cache_mode":  "force_generic_plan",
	"enable_seqscan":   "off",
	"enable_hashjoin":  "off",
	"enable_mergejoin": "off",
}

// OpenForGroups is [Open] for transactions that settle groups: all their
// statements look rows up by key.
func OpenForGroups(ctx context.Context, url, service string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, service, maxConns, groupSettings)
}

// Open returns a pool of at most maxConns sessions for a service. It does not
// wait for the server: the pool connects when it is used.
func Open(ctx context.Context, url, service string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, service, maxConns, nil)
}

func open(ctx context.Context, url, service string, maxConns int32, more map[string]string) (*pgxpool.Pool, error) {
	if url == "" {
		return nil, errors.New("DATABASE_URL is not set")
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil || !plain(cfg.ConnConfig) {
		// The library's text may repeat the URL with its password.
		return nil, errors.New("DATABASE_URL can't be read as a Postgres URL")
	}
	for name, value := range sessionLimits {
		if _, given := cfg.ConnConfig.RuntimeParams[name]; !given {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
	maps.Copy(cfg.ConnConfig.RuntimeParams, sessionSettings)
	maps.Copy(cfg.ConnConfig.RuntimeParams, more)
	cfg.ConnConfig.RuntimeParams["application_name"] = service
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	// Only if a trace is recorded, and never with the values of parameters.
	cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithDisableConnectionDetailsInAttributes())
	cfg.MaxConns = maxConns
	cfg.PingTimeout = time.Second // of an idle session before its use: its server may be gone
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.HealthCheckPeriod = 15 * time.Second
	cfg.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // else every UUID is converted through its text
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// plain reports whether user and database are plain names. Errors and the server's
// log contain them, and a malformed URL leaves parts of its password there.
func plain(cfg *pgx.ConnConfig) bool { return !strings.ContainsAny(cfg.User+cfg.Database, ":/?#@") }

// InTx runs f in a transaction and commits it, or rolls it back if f fails. If
// [CommitUnknown] is true for the error, the transaction may or may not have been
// committed: look in the database.
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
