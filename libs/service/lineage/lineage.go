// Package lineage tells a database that was restored from the one that a service
// last served from. Each schema has one row, in its table lineage, that names where
// it was served: the server's system identifier, its timeline, and the table itself.
// A base backup that is restored, or a standby that takes over, gets a new timeline;
// a dump that is restored, a new table. The row then names another place, until
// [AfterRestore] or a [Follower] has written it again.
package lineage

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
)

// origin is a place from which a schema is served.
type origin struct {
	System   int64  // pg_control_system().system_identifier
	Timeline int64  // of the WAL that is being written
	Table    uint32 // the oid of the table lineage
}

// here is a SELECT list: the place where the statement runs. It needs a primary.
const here = `
	(SELECT system_identifier FROM pg_control_system()),
	('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint,
	$1::text::regclass::oid`

// state is what the row says, and what is so.
type state struct {
	Served, Here origin
	Beat         int64
	// Synchronous means that the server has a synchronous standby: what it has
	// acknowledged, that standby has too.
	Synchronous bool
}

func (s state) moved() bool { return s.Served != s.Here }

func table(schema string) string { return pgx.Identifier{schema, "lineage"}.Sanitize() }

func read(ctx context.Context, q pg.Querier, schema string) (s state, err error) {
	err = q.QueryRow(ctx, `SELECT system_identifier, timeline, relation, beat, `+here+`,
		current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local')
		FROM `+table(schema), table(schema)).
		Scan(&s.Served.System, &s.Served.Timeline, &s.Served.Table, &s.Beat, &s.Here.System, &s.Here.Timeline, &s.Here.Table, &s.Synchronous)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil // no place is like the zero one
	}
	return s, pg.Wrap("read lineage", err)
}

// Check returns a sentence that says what to do if the database was restored and
// [AfterRestore] was forgotten, and "" if all is well. A standby is not checked:
// nothing is served from it.
func Check(ctx context.Context, q pg.Querier, schema string) (string, error) {
	var standby bool
	if err := q.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil || standby {
		return "", pg.Wrap("look for a standby", err)
	}
	s, err := read(ctx, q, schema)
	if err != nil || !s.moved() {
		return "", err
	}
	return s.sentence(schema), nil
}

func (s state) sentence(schema string) string {
	what := "is a restored copy"
	if s.Served.System == s.Here.System && s.Served.Table == s.Here.Table {
		what = fmt.Sprintf("was last served on timeline %d and is on timeline %d now: it was restored, or a standby has taken over", s.Served.Timeline, s.Here.Timeline)
	}
	return fmt.Sprintf("the schema %[1]s %[2]s, and %[1]s after-restore has not been run: ids that were given out before can be given out again; "+
		"stop the services and run it (docs/operations.md, \"After a restore\")", schema, what)
}
