package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

const userColumns = `id, login, role, activated_at, disabled_at, version, token_version, created_at, changed_at, trace_context`

// changed goes into every UPDATE that changes what is published of a user. $1 is his
// id, and $2 the trace that this belongs to.
const changed = `version = version + 1, changed_at = now(), publish_at = now(), trace_context = $2`

// Register adds a user: inactive with a link, active without one.
func (s *Store) Register(ctx context.Context, user auth.NewUser, link *auth.Link) (auth.User, error) {
	var added auth.User
	err := s.inTx(ctx, "register", func(tx *pg.Tx) (err error) {
		added, err = scanUser(tx.QueryRow(ctx, `
			INSERT INTO auth.users (login, password_hash, role, activated_at, trace_context)
			VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END, $5)
			RETURNING `+userColumns, user.Login, user.PasswordHash, user.Role, link == nil, telemetry.Traceparent(ctx)))
		if constraint, ok := pg.UniqueViolation(err); ok && constraint == "users_login" {
			return auth.ErrLoginTaken
		}
		if err != nil || link == nil {
			return err
		}
		return addLink(ctx, tx, added.ID, *link)
	})
	return added, err
}

// LoginTaken says whether a login is in use, in whatever case.
func (s *Store) LoginTaken(ctx context.Context, login string) (bool, error) {
	var taken bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM auth.users WHERE lower(login COLLATE "C") = $1)`, auth.Fold(login)).Scan(&taken)
	if err != nil {
		return false, pg.Wrap("look for login", err)
	}
	return taken, nil
}

// Credential gives a user and its password hash.
func (s *Store) Credential(ctx context.Context, login string) (auth.User, string, error) {
	var u auth.User
	var hash string
	err := s.pool.QueryRow(ctx, `SELECT `+userColumns+`, password_hash FROM auth.users WHERE lower(login COLLATE "C") = $1`, auth.Fold(login)).
		Scan(append(userFields(&u), &hash)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return auth.User{}, "", auth.ErrUserNotFound
	}
	if err != nil {
		return auth.User{}, "", pg.Wrap("read credential", err)
	}
	return u, hash, nil
}

// User reads one user.
func (s *Store) User(ctx context.Context, id int64) (auth.User, error) {
	u, err := readUser(ctx, s.pool, id, "")
	if err != nil {
		return auth.User{}, pg.Wrap("read user", err)
	}
	return u, nil
}

// Users gives at most limit users below an id, newest first.
func (s *Store) Users(ctx context.Context, filter auth.Filter, below *int64, limit int) ([]auth.User, error) {
	where := []string{"($1::bigint IS NULL OR id < $1)"}
	args := []any{below, limit}
	switch filter.Status {
	case auth.Disabled:
		where = append(where, "disabled_at IS NOT NULL")
	case auth.Inactive:
		where = append(where, "disabled_at IS NULL AND activated_at IS NULL")
	case auth.Active:
		where = append(where, "disabled_at IS NULL AND activated_at IS NOT NULL")
	}
	if filter.Login != "" {
		where = append(where, `lower(login COLLATE "C") LIKE $3`)
		args = append(args, "%"+likeEscaper.Replace(auth.Fold(filter.Login))+"%")
	}
	return pg.Rows(ctx, s.pool, "list users", collectUser, `
		SELECT `+userColumns+` FROM auth.users WHERE `+strings.Join(where, " AND ")+` ORDER BY id DESC LIMIT $2`, args...)
}

var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// SetEnabled changes a user on behalf of an admin, and when it disables, ends
// all sessions and tokens with it.
func (s *Store) SetEnabled(ctx context.Context, admin, id int64, enabled bool) (user auth.User, done bool, err error) {
	err = s.inTx(ctx, "set enabled", func(tx *pg.Tx) (err error) {
		done = false
		// Both are locked, in order: of two admins who disable each other at once,
		// one finds himself disabled.
		users, err := lockUsers(ctx, tx, `id IN ($1, $2)`, admin, id)
		if err != nil {
			return err
		}
		if actor, err := find(users, admin); err != nil || actor.MayAdminister() != nil {
			return auth.ErrForbidden
		}
		user, err = find(users, id)
		if err != nil || enabled == (user.DisabledAt == nil) {
			return err
		}
		done = true
		trace := telemetry.Traceparent(ctx)
		if enabled {
			user, err = scanUser(tx.QueryRow(ctx, `UPDATE auth.users SET disabled_at = NULL, `+changed+` WHERE id = $1 RETURNING `+userColumns, id, trace))
			return err
		}
		user, err = scanUser(tx.QueryRow(ctx, `
			UPDATE auth.users SET disabled_at = now(), token_version = token_version + 1, `+changed+` WHERE id = $1 RETURNING `+userColumns, id, trace))
		if err != nil {
			return err
		}
		return endSessions(ctx, tx, id)
	})
	return user, done, err
}

// SetRole changes a role and ends the tokens that carry the old one.
func (s *Store) SetRole(ctx context.Context, login string, role auth.Role) (done bool, err error) {
	err = s.inTx(ctx, "set role", func(tx *pg.Tx) (err error) {
		done = false
		// All admins are locked, in order: two who take the role from each
		// other at once must not both find another admin left.
		users, err := lockUsers(ctx, tx, `role = 'admin' OR lower(login COLLATE "C") = $1`, auth.Fold(login))
		if err != nil {
			return err
		}
		var user *auth.User
		others := 0
		for i, u := range users {
			if auth.Fold(u.Login) == auth.Fold(login) {
				user = &users[i]
			} else if u.Role == auth.RoleAdmin && u.Status() == auth.Active {
				others++
			}
		}
		switch {
		case user == nil:
			return auth.ErrUserNotFound
		case user.Role == role:
			return nil
		case role != auth.RoleAdmin && others == 0:
			return auth.ErrLastAdmin
		}
		done = true
		_, err = tx.Exec(ctx, `
			UPDATE auth.users SET role = $3, token_version = token_version + 1, `+changed+` WHERE id = $1`, user.ID, telemetry.Traceparent(ctx), role)
		return err
	})
	return done, err
}

// lockUsers locks users against change, in the order of their ids, as everybody
// does who locks more than one.
func lockUsers(ctx context.Context, tx *pg.Tx, which string, args ...any) ([]auth.User, error) {
	rows, err := tx.Query(ctx, `SELECT `+userColumns+` FROM auth.users WHERE `+which+` ORDER BY id FOR NO KEY UPDATE`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, collectUser)
}

func find(users []auth.User, id int64) (auth.User, error) {
	i := slices.IndexFunc(users, func(u auth.User) bool { return u.ID == id })
	if i < 0 {
		return auth.User{}, auth.ErrUserNotFound
	}
	return users[i], nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readUser(ctx context.Context, q querier, id int64, lock string) (auth.User, error) {
	u, err := scanUser(q.QueryRow(ctx, `SELECT `+userColumns+` FROM auth.users WHERE id = $1 `+lock, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return auth.User{}, auth.ErrUserNotFound
	}
	return u, err
}

func scanUser(row pgx.Row) (auth.User, error) {
	var u auth.User
	err := row.Scan(userFields(&u)...)
	return u, err
}

func collectUser(row pgx.CollectableRow) (auth.User, error) { return scanUser(row) }

func userFields(u *auth.User) []any {
	return []any{&u.ID, &u.Login, &u.Role, &u.ActivatedAt, &u.DisabledAt, &u.Version, &u.TokenVersion, &u.CreatedAt, &u.ChangedAt, &u.Trace}
}
