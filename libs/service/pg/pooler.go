package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrPooler means that a pooler such as PgBouncer is between this program and Postgres.
// Its sessions are others' sessions: the limits that keep a frozen replica from holding
// locks are lost, and so are prepared statements and the lock of the migrations
// (docs/adr/0062).
var ErrPooler = errors.New("it leads to a connection pooler such as PgBouncer, which drops the limits of a session: connect to Postgres itself")

// holds returns ErrPooler unless a new session has the settings that were asked for.
// Their values must be written as Postgres shows them.
func holds(ctx context.Context, conn *pgx.Conn, setting string, want map[string]string) error {
	names := slices.Sorted(maps.Keys(want))
	if len(names) == 0 {
		return nil
	}
	// The simple protocol, in one round trip: a pooler may not know prepared statements.
	asked := make([]string, len(names))
	for i, name := range names {
		asked[i] = "current_setting('" + name + "')"
	}
	results, err := conn.PgConn().Exec(ctx, "SELECT "+strings.Join(asked, ", ")).ReadAll()
	if err != nil {
		return fmt.Errorf("read the settings of the session: %w", err)
	}
	for i, name := range names {
		if got := string(results[0].Rows[0][i]); got != want[name] {
			return fmt.Errorf("%s: %w (%s is %s instead of %s)", setting, ErrPooler, name, got, want[name])
		}
	}
	return nil
}

// refusedByPooler returns ErrPooler for the error of a pooler that refuses a session's
// settings, and other errors as they are.
func refusedByPooler(setting string, err error) error {
	const protocolViolation = "08P01" // Postgres itself answers settings that it does not know with class 42
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if ok && refused.Code == protocolViolation && strings.Contains(refused.Message, "startup parameter") {
		return fmt.Errorf("%s: %w (%s)", setting, ErrPooler, refused.Message)
	}
	return err
}
