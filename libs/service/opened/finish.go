package opened

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
)

// Schema is a service's schema.
type Schema struct {
	Name       string
	Migrations fs.FS
	InUse      string // an SQL condition: the shop has data (see lavka/libs/service/serving)

	// Obsolete are indexes that only releases before this one read. They are dropped when
	// the gate is raised: then no replica of such a release is left.
	Obsolete []string
}

// Migrate is [pg.Migrate]. Then, in a shop without data and without a session of another
// release, it raises the gate. In any other shop that is not open yet it logs the
// command that does.
func Migrate(ctx context.Context, url string, s Schema, log *slog.Logger) error {
	if err := pg.Migrate(ctx, url, s.Name, s.Migrations, log); err != nil {
		return err
	}
	return s.connected(ctx, url, func(conn *pgx.Conn) error {
		var closed, inUse bool
		if err := conn.QueryRow(ctx, `SELECT (SELECT level < $1 FROM `+table(s.Name)+`), `+s.InUse, Highest).Scan(&closed, &inUse); err != nil {
			return fmt.Errorf("read the level: %w", err)
		}
		if !closed {
			return nil
		}
		others, err := s.others(ctx, conn)
		if err != nil {
			return err
		}
		if inUse || others != "" {
			log.WarnContext(ctx, "new kinds of rows stay closed; when no replica of the release before is left, run migrate finish of auth, then of billing, then of catalog (on one machine: make finish)", "schema", s.Name)
			return nil
		}
		return s.raise(ctx, conn, log)
	})
}

// Finish raises the gate of a schema, as its owner: the rollout of this release is
// complete. It fails, naming them, while sessions of the service's role with another
// release in their name are connected; it waits 10 s for those that are just ending.
// From then on, going back to the release before is no longer promised. It may be
// repeated.
func Finish(ctx context.Context, url string, s Schema, log *slog.Logger) error {
	return s.connected(ctx, url, func(conn *pgx.Conn) error {
		if err := pg.CheckVersion(ctx, conn, s.Name, s.Migrations); err != nil {
			return err
		}
		others, err := pg.AwaitNone(ctx, func() (string, error) { return s.others(ctx, conn) })
		if err != nil {
			return err
		}
		if others != "" {
			return fmt.Errorf("sessions of %s that are not of this release%s are connected: %s; complete the rollout and run this again", s.Name, pg.ReleaseMark(), others)
		}
		return s.raise(ctx, conn, log)
	})
}

func (s Schema) connected(ctx context.Context, url string, f func(*pgx.Conn) error) error {
	conn, err := pg.ConnectOwner(ctx, url, s.Name+" migrate finish", 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := f(conn); err != nil {
		return fmt.Errorf("finish %s: %w", s.Name, err)
	}
	return nil
}

// others returns the sessions of the service's role that another release may have
// opened: their names do not end in this one's mark. Superusers don't count, such as a
// monitor, and neither does the owner, who writes no rows of the new kinds.
func (s Schema) others(ctx context.Context, q pg.Querier) (string, error) {
	var others string
	err := q.QueryRow(ctx, `
		SELECT coalesce(string_agg(format('pid %s (%s)', a.pid, a.application_name), ', ' ORDER BY a.pid), '')
		FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
		WHERE a.datname = current_database() AND NOT r.rolsuper AND r.rolname <> current_user AND pg_has_role(r.oid, $1, 'MEMBER')
		  AND right(a.application_name, length($2)) <> $2`, s.Name, pg.ReleaseMark()).Scan(&others)
	if err != nil {
		return "", fmt.Errorf("look for sessions of another release: %w", err)
	}
	return others, nil
}

func (s Schema) raise(ctx context.Context, conn *pgx.Conn, log *slog.Logger) error {
	var level int64
	err := conn.QueryRow(ctx, `UPDATE `+table(s.Name)+` SET level = greatest(level, $1) RETURNING level`, Highest).Scan(&level)
	if err != nil {
		return fmt.Errorf("raise the level: %w", err)
	}
	log.InfoContext(ctx, "new kinds of rows are open", "schema", s.Name, "level", level)
	for _, index := range s.Obsolete {
		if _, err := conn.Exec(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+pgx.Identifier{s.Name, index}.Sanitize()); err != nil {
			return fmt.Errorf("the gate is open, but the index %s, which only an earlier release reads, could not be dropped; run migrate finish again: %w", index, err)
		}
	}
	return nil
}
