package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// noticeEvery is how often a migration that takes long logs what it waits for.
const noticeEvery = 10 * time.Second

// migrateSession is goose's SessionLocker: it gives a session the lock of the
// schema's migrations, and prepares it for the next one.
type migrateSession struct {
	schema  string
	steps   fs.FS
	sources []*goose.Source // ascending
	log     *slog.Logger
	gaveWay bool         // the last try got no lock
	pid     atomic.Int32 // of the session that has the lock; 0 if none has
}

var _ lock.SessionLocker = (*migrateSession)(nil)

// SessionLock waits for the lock, and prepares the session.
func (s *migrateSession) SessionLock(ctx context.Context, conn *sql.Conn) error {
	err := s.acquire(ctx, conn)
	if err == nil {
		err = s.prepare(ctx, conn)
	}
	if err != nil {
		s.SessionUnlock(context.WithoutCancel(ctx), conn) // goose does not, after an error
	}
	return err
}

// SessionUnlock lets the lock go. If the session no longer responds, its connection
// is closed, and the lock ends with it. It never fails.
func (s *migrateSession) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	s.pid.Store(0)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock_all()`); err != nil {
		s.log.DebugContext(ctx, "the session of the migration is lost", "schema", s.schema, "error", err)
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // makes the pool close it
	}
	return nil
}

// finish mends what the last migration may have left: CREATE INDEX … IF NOT EXISTS
// passes over an index that another session tried to build and left invalid.
func (s *migrateSession) finish(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	if err := s.SessionLock(ctx, conn); err != nil {
		return err
	}
	return s.SessionUnlock(context.WithoutCancel(ctx), conn)
}

// acquire waits for two advisory locks: the schema's own, so that a long build in one
// schema does not hold up the others; and a share of goose's, which releases up to
// v0.6.0 take alone. It polls, because a session that waits within Postgres would
// have a snapshot, and CREATE INDEX CONCURRENTLY would wait for that.
func (s *migrateSession) acquire(ctx context.Context, conn *sql.Conn) error {
	own := int64(crc32.ChecksumIEEE([]byte("lavka migrate " + s.schema)))
	var noticed time.Time
	for {
		var had bool
		err := conn.QueryRowContext(ctx, `SELECT CASE WHEN pg_try_advisory_lock_shared($1) THEN pg_try_advisory_lock($2) ELSE false END`,
			lock.DefaultLockID, own).Scan(&had)
		if err == nil && !had {
			_, err = conn.ExecContext(ctx, `SELECT pg_advisory_unlock_all()`)
		}
		if err != nil {
			return fmt.Errorf("lock the schema's migrations: %w", err)
		}
		if had {
			return nil
		}
		if time.Since(noticed) >= noticeEvery {
			noticed = time.Now()
			var holders string
			err := conn.QueryRowContext(ctx, `
				SELECT coalesce(string_agg(format('pid %s (%s)', a.pid, a.application_name), ', '), '')
				FROM pg_locks l JOIN pg_stat_activity a USING (pid)
				WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.objsubid = 1
				  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
				  AND (l.classid::bigint << 32) | l.objid::bigint IN ($1, $2)`, lock.DefaultLockID, own).Scan(&holders)
			if err != nil {
				return fmt.Errorf("look for the holder of the lock: %w", err)
			}
			s.log.InfoContext(ctx, "another migration is running; waiting until it ends", "schema", s.schema, "sessions", holders)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// prepare mends what earlier runs have left, and sets how long the next migration
// may wait for a lock: a short time in a transaction, because others queue behind it;
// without a limit for a concurrent statement, which blocks no transaction.
func (s *migrateSession) prepare(ctx context.Context, conn *sql.Conn) error {
	var pid int32
	err := conn.QueryRowContext(ctx, `
		SELECT pg_backend_pid(), set_config('lock_timeout', '0', false),
			(SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout') -- since PostgreSQL 17`).
		Scan(&pid, new(string), new(sql.NullString))
	if err != nil {
		return fmt.Errorf("prepare the session: %w", err)
	}
	s.pid.Store(pid)
	if err := s.mend(ctx, conn); err != nil {
		return err
	}
	concurrent, err := s.nextIsConcurrent(ctx, conn)
	if err != nil || concurrent {
		return err
	}
	if s.gaveWay {
		if err := s.interruptVacuum(ctx, conn); err != nil {
			return err
		}
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf(`SET lock_timeout = %d`, tableWait.Milliseconds())); err != nil {
		return fmt.Errorf("limit the wait for locks: %w", err)
	}
	return nil
}

var (
	sqlComment     = regexp.MustCompile(`(?m)--.*$`)
	concurrentOnly = regexp.MustCompile(`(?i)^(\s*(CREATE\s+(UNIQUE\s+)?|DROP\s+)INDEX\s+CONCURRENTLY\s[^;]+;)+\s*$`)
)

// nextIsConcurrent reports whether the next migration builds or drops an index
// CONCURRENTLY, and does nothing else.
func (s *migrateSession) nextIsConcurrent(ctx context.Context, conn *sql.Conn) (bool, error) {
	table := pgx.Identifier{s.schema, "schema_version"}.Sanitize()
	var version int64
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+table+` WHERE is_applied`).Scan(&version); err != nil {
		return false, fmt.Errorf("read schema version: %w", err)
	}
	for _, source := range s.sources {
		if source.Version > version {
			text, err := fs.ReadFile(s.steps, path.Base(source.Path))
			return concurrentOnly.Match(sqlComment.ReplaceAll(text, nil)), err
		}
	}
	return false, nil
}

// mend rebuilds the schema's invalid indexes, unless a session is building them. They
// are rebuilt in place, because an invalid unique index usually still refuses
// duplicates, and may be the only one that does. Indexes that REINDEX CONCURRENTLY
// or DROP INDEX CONCURRENTLY have left behind serve nothing, and are dropped.
//
// Which index a session is building is hidden from other roles, but not that it is
// building one, nor which tables it has locked.
func (s *migrateSession) mend(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname), NOT i.indislive OR c.relname ~ '_cc(new|old)[0-9]*$'
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'i' AND NOT i.indisvalid AND NOT EXISTS (
			SELECT FROM pg_stat_progress_create_index p JOIN pg_locks l ON l.pid = p.pid
			WHERE l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
			  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
		ORDER BY 2, 1`, s.schema)
	if err != nil {
		return fmt.Errorf("look for invalid indexes: %w", err)
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var index string
		var useless bool
		if err := rows.Scan(&index, &useless); err != nil {
			return fmt.Errorf("look for invalid indexes: %w", err)
		}
		if useless {
			statements = append(statements, `DROP INDEX CONCURRENTLY IF EXISTS `+index)
		} else {
			statements = append(statements, `REINDEX INDEX CONCURRENTLY `+index)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for invalid indexes: %w", err)
	}
	for _, statement := range statements {
		s.log.WarnContext(ctx, "an index was left invalid; mending it", "schema", s.schema, "statement", statement)
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// interruptVacuum ends autovacuum's work on the schema's tables. Autovacuum gives way
// to a session that waits for its lock, but only after deadlock_timeout (a second),
// and a migration does not wait that long. This lock conflicts with autovacuum and
// with nothing that the services do.
func (s *migrateSession) interruptVacuum(ctx context.Context, conn *sql.Conn) error {
	var tables []string
	rows, err := conn.QueryContext(ctx, `
		SELECT DISTINCT format('%I.%I', n.nspname, c.relname)
		FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'r' AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted
		  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`, s.schema)
	if err != nil {
		return fmt.Errorf("look for autovacuum: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return fmt.Errorf("look for autovacuum: %w", err)
		}
		tables = append(tables, table)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for autovacuum: %w", err)
	}
	for _, table := range tables {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("interrupt autovacuum: %w", err)
		}
		_, err = tx.ExecContext(ctx, `SET LOCAL lock_timeout = '5s'`)
		if err == nil {
			_, err = tx.ExecContext(ctx, `LOCK TABLE `+table+` IN SHARE UPDATE EXCLUSIVE MODE`)
		}
		if rollback := tx.Rollback(); err == nil {
			err = rollback
		}
		if err != nil && !LockTimeout(err) {
			return fmt.Errorf("interrupt autovacuum: %w", err)
		}
	}
	return nil
}

// report logs, every ten seconds, how far an index has been built and which sessions
// the migration waits for.
func (s *migrateSession) report(ctx context.Context, db *sql.DB) {
	tick := time.NewTicker(noticeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pid := s.pid.Load()
		if pid == 0 {
			continue
		}
		var phase, sessions string
		var done, total int64
		err := db.QueryRowContext(ctx, `
			SELECT coalesce(p.phase, ''), coalesce(p.blocks_done, 0), coalesce(p.blocks_total, 0), (
				SELECT coalesce(string_agg(format('pid %s (%s)', a.pid, a.application_name), ', '), '')
				FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids($1)))
			FROM (SELECT $1::integer AS pid) me LEFT JOIN pg_stat_progress_create_index p USING (pid)`, pid).
			Scan(&phase, &done, &total, &sessions)
		if err == nil && (phase != "" || sessions != "") {
			s.log.InfoContext(ctx, "the migration is still running", "schema", s.schema, "phase", phase, "blocks_done", done, "blocks_total", total, "waits_for", sessions)
		}
	}
}
