package lineage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
)

// Jump is by how much [AfterRestore] raises the versions of what it finds, for the
// statements of its Restored.
type Jump struct{ Versions int64 }

// Restored describes a schema for [AfterRestore].
type Restored struct {
	Schema     string
	Migrations fs.FS
	// Change, if set, is what else has to change, in the transaction of the rest.
	Change func(context.Context, pg.Querier, Jump) error
}

// jumps are computed from the database's clock, because the same backup may be
// restored twice: what was given out after the first time must not be given out
// again after the second. Within a second a shop gives out fewer than 100,000 ids of
// a sequence, and changes a user less than once. With the ids of 2026 to 2056, a
// schema can be restored almost a hundred times before an id passes 2⁵³.
const jumps = `
	SELECT 1000000000 + 100000 * seconds, 1000000 + seconds
	FROM (SELECT greatest(0, extract(epoch FROM clock_timestamp() - '2026-01-01T00:00:00Z'::timestamptz))::bigint AS seconds) AS since`

// maxID is the greatest integer that every client can represent: 2⁵³ - 1.
const maxID = 1<<53 - 1

// AfterRestore makes a restored database safe to serve from, as the owner of the
// schema. It migrates the schema. Then every sequence goes on at least 10⁹ higher,
// so that no id that was given out after the backup is given out again. It fails,
// naming them, if sessions of the service's roles are still connected to the database
// after 10 s.
// It may be repeated.
func AfterRestore(ctx context.Context, url string, r Restored, log *slog.Logger) error {
	if err := pg.Migrate(ctx, url, r.Schema, r.Migrations, log); err != nil {
		return err
	}
	conn, err := pg.ConnectOwner(ctx, url, r.Schema+" after-restore", 0) // it may change every user
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := r.run(ctx, conn); err != nil {
		return fmt.Errorf("after-restore of %s: %w", r.Schema, err)
	}
	log.InfoContext(ctx, "the restored schema can be served", "schema", r.Schema)
	return nil
}

func (r Restored) run(ctx context.Context, conn *pgx.Conn) error {
	found, err := pg.AwaitNone(ctx, func() (string, error) { return others(ctx, conn, r.Schema) })
	if err := alone(r.Schema, found, err); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	var ids int64
	var jump Jump
	if err := tx.QueryRow(ctx, jumps).Scan(&ids, &jump.Versions); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	if err := raise(ctx, tx, r.Schema, ids); err != nil {
		return err
	}
	if r.Change != nil {
		if err := r.Change(ctx, tx, jump); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO `+table(r.Schema)+` AS l (system_identifier, timeline, relation) SELECT `+here+`
		ON CONFLICT (one) DO UPDATE
		SET system_identifier = excluded.system_identifier, timeline = excluded.timeline, relation = excluded.relation, beat = l.beat + 1`, table(r.Schema))
	if err != nil {
		return fmt.Errorf("write lineage: %w", err)
	}
	// A replica that connected in the meantime may have read what has changed here.
	if _, err := tx.Exec(ctx, `SELECT pg_stat_clear_snapshot()`); err != nil {
		return fmt.Errorf("look again for other sessions: %w", err)
	}
	found, err = others(ctx, tx, r.Schema)
	if err := alone(r.Schema, found, err); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// others names the sessions of the schema's service, or of its owner, that are connected.
// Superusers, such as the operator or a monitor, don't count, and neither do the other
// services: each has an after-restore of its own.
func others(ctx context.Context, q pg.Querier, schema string) (string, error) {
	var found string
	err := q.QueryRow(ctx, `
		SELECT coalesce(string_agg(format('pid %s (%s, role %s)', a.pid, a.application_name, r.rolname), ', ' ORDER BY a.pid), '')
		FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
		WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND NOT r.rolsuper
		  AND (pg_has_role(r.oid, $1, 'MEMBER') OR pg_has_role(r.oid, $1 || '_owner', 'MEMBER'))`, schema).Scan(&found)
	if err != nil {
		return "", fmt.Errorf("look for other sessions: %w", err)
	}
	return found, nil
}

// alone turns what [others] found into an error.
func alone(schema, found string, err error) error {
	if err == nil && found != "" {
		err = fmt.Errorf("other sessions of %s are connected to this database: %s; stop its replicas and run this again", schema, found)
	}
	return err
}

// raise raises every sequence of the schema, but not that of the migrations: those
// ids are not given to anyone. Unlike the rest of the transaction, it can't be rolled
// back.
func raise(ctx context.Context, tx pgx.Tx, schema string, by int64) error {
	const all = `FROM pg_sequences WHERE schemaname = $1 AND sequencename <> 'schema_version_id_seq'`
	var name string
	err := tx.QueryRow(ctx, `SELECT sequencename `+all+` AND coalesce(last_value, start_value) > $2::bigint LIMIT 1`, schema, maxID-by).Scan(&name)
	if err == nil {
		return fmt.Errorf("the sequence %s.%s would pass %d, the greatest id that clients can represent", schema, name, int64(maxID))
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the sequences: %w", err)
	}
	if _, err := tx.Exec(ctx, `SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, coalesce(last_value, start_value) + $2::bigint) `+all, schema, by); err != nil {
		return fmt.Errorf("raise the sequences: %w", err)
	}
	return nil
}
