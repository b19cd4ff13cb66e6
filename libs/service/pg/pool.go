// Package pg is how services use Postgres: sessions with limits, so that a frozen
// replica can't hold locks that others need, and errors classified by how a caller
// must react.
package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"lavka/libs/service/pgconfig"
	"lavka/libs/service/release"
)

// sessionLimits end what a frozen replica holds. A transaction that is idle for
// two seconds belongs to a frozen replica; a lock not acquired within 250 ms is
// left for a later attempt. A debugger freezes a replica too, so the URL's own
// parameters override these limits (see CONTRIBUTING.md). Values are written as
// Postgres shows them, so that [holds] can compare them.
var sessionLimits = map[string]string{
	"idle_in_transaction_session_timeout": "2s",
	"lock_timeout":                        "250ms",
	"statement_timeout":                   "5s",
}

// sessionSettings are the other settings of every session.
var sessionSettings = map[string]string{
	"client_connection_check_interval": "1s",
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

// expensiveLimits replace some of sessionLimits for expensive reads. A search that
// takes longer is given up: whatever it reads, it takes from the others.
var expensiveLimits = map[string]string{"statement_timeout": "2s"}

// expensiveSettings are added for sessions of expensive reads. Without parallel
// workers, each session uses one processor at most.
var expensiveSettings = map[string]string{"max_parallel_workers_per_gather": "0"}

// OpenForGroups is [Open] for transactions that settle groups: all their
// statements look rows up by key.
func OpenForGroups(ctx context.Context, url, service string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, service, maxConns, nil, groupSettings)
}

// Open returns a pool of at most maxConns sessions for a service. It does not
// wait for the server: the pool connects when it is used.
func Open(ctx context.Context, url, service string, maxConns int32) (*pgxpool.Pool, error) {
	return open(ctx, url, service, maxConns, nil, nil)
}

func open(ctx context.Context, url, service string, maxConns int32, limits, settings map[string]string) (*pgxpool.Pool, error) {
	cfg, err := configure(url, service, limits, settings)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = maxConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// configure returns how sessions are opened. limits replace sessionLimits of the
// same name, and settings sessionSettings.
func configure(url, service string, limits, settings map[string]string) (*pgxpool.Config, error) {
	if url == "" {
		return nil, errors.New("DATABASE_URL is not set")
	}
	cfg, err := pgconfig.ParsePool(url)
	if err != nil || !plain(cfg.ConnConfig) {
		return nil, unreadable("DATABASE_URL", err)
	}
	limited := maps.Clone(sessionLimits)
	maps.Copy(limited, limits)
	// A limit that the URL gives is for debugging, and is not looked at.
	maps.DeleteFunc(limited, func(name, _ string) bool { _, given := cfg.ConnConfig.RuntimeParams[name]; return given })
	maps.Copy(cfg.ConnConfig.RuntimeParams, limited)
	maps.Copy(cfg.ConnConfig.RuntimeParams, sessionSettings)
	maps.Copy(cfg.ConnConfig.RuntimeParams, settings)
	cfg.ConnConfig.RuntimeParams["application_name"] = service + ReleaseMark()
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	// Only if a trace is recorded, and never with the values of parameters.
	cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithDisableConnectionDetailsInAttributes())
	cfg.PingTimeout = time.Second // of an idle session before its use: its server may be gone
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	cfg.HealthCheckPeriod = 15 * time.Second
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap()) // else every UUID is converted through its text
		return holds(ctx, conn, "DATABASE_URL", limited)
	}
	return cfg, nil
}

// longestRelease is how many bytes of a release a session's name holds. Postgres cuts
// names at 63 bytes, and the mark must survive.
const longestRelease = 36

// ReleaseMark returns the end of the name (application_name) of each session of a
// service, such as " @v1.2.3", so that pg_stat_activity tells which releases are
// connected.
func ReleaseMark() string {
	version := release.Version()
	return " @" + version[:min(len(version), longestRelease)]
}

// unreadable returns what is wrong with a URL, without the library's text, which may
// repeat the URL with its password.
func unreadable(setting string, err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s names a file that can't be read: %w", setting, file)
	}
	return fmt.Errorf("%s can't be read as a Postgres URL", setting)
}

// plain reports whether user and database are plain names. Errors and the server's
// log contain them, and a malformed URL leaves parts of its password there.
func plain(cfg *pgx.ConnConfig) bool { return !strings.ContainsAny(cfg.User+cfg.Database, ":/?#@") }

// lockTries is how often InTx waits for a locked row, 250 ms each time. The sum is
// longer than the two seconds after which Postgres ends the transaction of a replica
// that froze while holding the lock.
const lockTries = 12

// InTx runs f in a transaction and commits it, or rolls it back if f fails. It does so
// again, for about three seconds, while another transaction holds a lock that f needs: f
// must not depend on what an earlier run of it has set. If [CommitUnknown] is true for
// the error, the transaction may or may not have been committed: look in the database.
func InTx(ctx context.Context, pool *pgxpool.Pool, f func(*Tx) error) error {
	for tries := 1; ; tries++ {
		if err := inTx(ctx, pool, f); !LockTimeout(err) || tries == lockTries {
			return err
		}
	}
}

func inTx(ctx context.Context, pool *pgxpool.Pool, f func(*Tx) error) error {
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
