package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/opened"
	"lavka/libs/service/pg"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/internal/auth"
)

const userColumns = `id, login, role, activated_at, disabled_at, version, token_version, created_at, changed_at, trace_context, session_version, sessions_ended_at, reset_version`

// changed is part of every UPDATE of a published column of a user. $1 is the user's
// id, and $2 the W3C traceparent of the request.
const changed = `version = version + 1, changed_at = now(), publish_at = now(), trace_context = $2`

// Register adds a user, who is inactive with a link and active without one. It
// returns auth.ErrLoginTaken if the login is in use.
func (s *Store) Register(ctx context.Context, user auth.NewUser, link *auth.Link) (auth.User, error) {
	var added auth.User
	err := s.inTx(ctx, "register", func(tx *pg.Tx) error {
		err := tx.QueryRow(ctx, `
			INSERT INTO auth.users (login, password_hash, role, activated_at, trace_context)
			VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END, $5)
			RETURNING `+userColumns, user.Login, user.PasswordHash, user.Role, link == nil, telemetry.Traceparent(ctx)).Scan(userFields(&added)...)
		if constraint, ok := pg.UniqueViolation(err); ok && constraint == "users_login" {
			return auth.ErrLoginTaken
		}
		if err != nil {
			return err
		}
		if link == nil { // only operators create such users
			return logged(ctx, tx, 0, "create", added, nil, adminlog.Members{"login": added.Login, "role": added.Role})
		}
		if link.Sent {
			return queueLink(ctx, tx, added.ID, auth.ActivationLink)
		}
		_, err = addLink(ctx, tx, added.ID, *link)
		return err
	})
	return added, err
}

// LoginTaken reports whether a login is in use. It is not case-sensitive.
func (s *Store) LoginTaken(ctx context.Context, login string) (bool, error) {
	return pg.CollectOne(ctx, s.reads, "look up login", pgx.ErrNoRows, pgx.RowTo[bool], `
		SELECT EXISTS (SELECT FROM auth.users WHERE lower(login COLLATE "C") = $1)`, auth.Fold(login))
}

// Credential returns the user with a login and their password hash, or
// auth.ErrUserNotFound.
func (s *Store) Credential(ctx context.Context, login string) (auth.User, string, error) {
	c, err := pg.CollectOne(ctx, s.reads, "read credential", auth.ErrUserNotFound, scanCredential, `
		SELECT `+userColumns+`, password_hash FROM auth.users WHERE lower(login COLLATE "C") = $1`, auth.Fold(login))
	return c.user, c.hash, err
}

// User returns a user, or auth.ErrUserNotFound.
func (s *Store) User(ctx context.Context, id int64) (auth.User, error) {
	return pg.CollectOne(ctx, s.reads, "read user", auth.ErrUserNotFound, scanUser, `SELECT `+userColumns+` FROM auth.users WHERE id = $1`, id)
}

// SetEnabled enables or disables a user on behalf of an admin, and reports whether
// the user changed. Disabling also ends the user's sessions and revokes their
// tokens. It decides by the admin's row: it returns the error of [auth.User.MayAct] or
// [auth.User.MayAdminister].
func (s *Store) SetEnabled(ctx context.Context, admin auth.Caller, id int64, enabled bool) (user auth.User, done bool, err error) {
	err = s.inTx(ctx, "set enabled", func(tx *pg.Tx) (err error) {
		done = false
		user, err = lockForAdmin(ctx, tx, admin, id)
		if err != nil || enabled == (user.DisabledAt == nil) {
			return err
		}
		done = true
		action := map[bool]string{true: "enable", false: "disable"}[enabled]
		if err := logged(ctx, tx, admin.UserID, action, user, adminlog.Members{"enabled": !enabled}, adminlog.Members{"enabled": enabled}); err != nil {
			return err
		}
		trace := telemetry.Traceparent(ctx)
		if enabled {
			return tx.QueryRow(ctx, `
				UPDATE auth.users SET disabled_at = NULL, `+changed+` WHERE id = $1 RETURNING `+userColumns, id, trace).Scan(userFields(&user)...)
		}
		err = tx.QueryRow(ctx, `
			UPDATE auth.users SET disabled_at = now(), token_version = token_version + 1, `+sessionsEnded+`, `+changed+` WHERE id = $1 RETURNING `+userColumns, id, trace).Scan(userFields(&user)...)
		if err != nil {
			return err
		}
		return endRows(ctx, tx, id, none)
	})
	return user, done, err
}

// SetRole changes a user's role, revokes their tokens, which carry the old role,
// and reports whether the role changed. It returns [opened.ErrNotYet] for the role
// support until the upgrade is complete.
func (s *Store) SetRole(ctx context.Context, login string, role auth.Role) (done bool, err error) {
	err = s.inTx(ctx, "set role", func(tx *pg.Tx) (err error) {
		done = false
		// All admins are locked, in order: two changes that revoke each other's admin
		// at once must not both find another admin left.
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
		case user.Role == auth.RoleAdmin && others == 0:
			return auth.ErrLastAdmin
		}
		if role == auth.RoleSupport {
			if err := opened.At(ctx, tx, Schema, opened.Refunds); err != nil {
				return err
			}
		}
		done = true
		_, err = tx.Exec(ctx, `
			UPDATE auth.users SET role = $3, token_version = token_version + 1, `+changed+` WHERE id = $1`, user.ID, telemetry.Traceparent(ctx), role)
		if err != nil {
			return err
		}
		return logged(ctx, tx, 0, "role", *user, adminlog.Members{"role": user.Role}, adminlog.Members{"role": role})
	})
	return done, err
}

// logged adds a change of a user to the admins' log. The actor is 0 for an operator.
func logged(ctx context.Context, tx *pg.Tx, actor int64, action string, u auth.User, before, after adminlog.Members) error {
	return adminlog.Write(ctx, tx, Schema, adminlog.Change{
		Actor: actor, Action: "user." + action, Subject: fmt.Sprintf("user/%d", u.ID), Before: before, After: after,
	})
}

// AdminExists reports whether there is an active admin.
func (s *Store) AdminExists(ctx context.Context) (bool, error) {
	return pg.CollectOne(ctx, s.reads, "look up admins", pgx.ErrNoRows, pgx.RowTo[bool], `
		SELECT EXISTS (SELECT FROM auth.users WHERE role = 'admin' AND activated_at IS NOT NULL AND disabled_at IS NULL)`)
}

// lockUsers locks users against changes and returns them, in the order of their ids.
// Every transaction that locks several users uses this order, so none of them
// deadlock.
func lockUsers(ctx context.Context, tx *pg.Tx, which string, args ...any) ([]auth.User, error) {
	return pg.Rows(ctx, tx, "lock users", scanUser, `SELECT `+userColumns+` FROM auth.users WHERE `+which+` ORDER BY id FOR NO KEY UPDATE`, args...)
}

// lockForAdmin locks the rows of an admin and of a user whom they are about to change,
// and returns the user. It returns the error of [auth.User.MayAct] or
// [auth.User.MayAdminister] for the admin, or auth.ErrUserNotFound.
func lockForAdmin(ctx context.Context, tx *pg.Tx, admin auth.Caller, id int64) (auth.User, error) {
	// Both rows are locked, in order: if two admins disable each other at once, the
	// second is disabled by then, and refused.
	users, err := lockUsers(ctx, tx, `id IN ($1, $2)`, admin.UserID, id)
	if err != nil {
		return auth.User{}, err
	}
	actor, err := find(users, admin.UserID)
	if err != nil {
		return auth.User{}, auth.ErrTokenRevoked
	}
	if err := actor.MayAct(admin); err != nil {
		return auth.User{}, err
	}
	if err := actor.MayAdminister(); err != nil {
		return auth.User{}, err
	}
	return find(users, id)
}

func find(users []auth.User, id int64) (auth.User, error) {
	i := slices.IndexFunc(users, func(u auth.User) bool { return u.ID == id })
	if i < 0 {
		return auth.User{}, auth.ErrUserNotFound
	}
	return users[i], nil
}

func readUser(ctx context.Context, q pg.Querier, id int64, lock string) (auth.User, error) {
	return pg.One(ctx, q, "read user", auth.ErrUserNotFound, scanUser, `SELECT `+userColumns+` FROM auth.users WHERE id = $1 `+lock, id)
}

func scanUser(row pgx.CollectableRow) (auth.User, error) {
	var u auth.User
	err := row.Scan(userFields(&u)...)
	return u, err
}

// credential is a user with their password hash.
type credential struct {
	user auth.User
	hash string
}

func scanCredential(row pgx.CollectableRow) (credential, error) {
	var c credential
	err := row.Scan(append(userFields(&c.user), &c.hash)...)
	return c, err
}

func userFields(u *auth.User) []any {
	return []any{&u.ID, &u.Login, &u.Role, &u.ActivatedAt, &u.DisabledAt, &u.Version, &u.TokenVersion, &u.CreatedAt, &u.ChangedAt, &u.Trace, &u.SessionVersion, &u.SessionsEndedAt, &u.ResetVersion}
}
