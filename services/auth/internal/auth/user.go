// Package auth is the shop's users: who they are, how they prove it, and which
// of their sessions are still good. It knows no HTTP, SQL or NATS.
package auth

import (
	"context"
	"fmt"
	"time"
)

// Role is what a user may do.
type Role string

// The roles. An admin may do all that a user may.
const (
	RoleUser  Role = "user"
	RoleAdmin Role = "admin"
)

// Status is derived from two facts; see [User.Status].
type Status string

// The statuses.
const (
	Inactive Status = "inactive"
	Active   Status = "active"
	Disabled Status = "disabled"
)

// User is one who can log in, or could.
type User struct {
	ID           int64
	Login        string
	Role         Role
	ActivatedAt  *time.Time // set once, by an activation link
	DisabledAt   *time.Time // set and cleared by an admin
	Version      int64      // rises with every change
	ChangedAt    time.Time  // when it last did
	TokenVersion int64      // tokens with a lower one are refused
	CreatedAt    time.Time
	Trace        string // W3C traceparent of the last change; "" for none
}

// TokenVersion is a user's: tokens with a lower one are refused.
type TokenVersion struct{ UserID, Version int64 }

// Status says what a user is: disabled hides everything else, so that enabling
// gives back what was there before.
func (u User) Status() Status {
	switch {
	case u.DisabledAt != nil:
		return Disabled
	case u.ActivatedAt == nil:
		return Inactive
	}
	return Active
}

// MayLogIn is nil, or a problem "user_disabled" or "user_inactive".
func (u User) MayLogIn() error {
	switch u.Status() {
	case Disabled:
		return ErrUserDisabled
	case Inactive:
		return ErrUserInactive
	}
	return nil
}

// MayAdminister is nil for an active admin, else a problem "forbidden": a token
// may speak of what its user was a moment ago.
func (u User) MayAdminister() error {
	if u.Role != RoleAdmin || u.Status() != Active {
		return ErrForbidden
	}
	return nil
}

// Filter narrows a list of users. Zero values narrow nothing.
type Filter struct {
	Status Status
	Login  string // part of it, without regard to case
}

// UserStore is what [Users] needs of the database. Its methods are a
// transaction each.
type UserStore interface {
	// Register adds a user; ErrLoginTaken when the login is in use. Without a
	// link the user is active at once.
	Register(ctx context.Context, user NewUser, link *Link) (User, error)
	LoginTaken(ctx context.Context, login string) (bool, error)
	// Activate makes the user of a link active, as [DecideActivation] says.
	Activate(ctx context.Context, token TokenHash) (User, error)
	AddLink(ctx context.Context, userID int64, link Link) error
	// User is ErrUserNotFound when there is none.
	User(ctx context.Context, id int64) (User, error)
	// Users gives at most limit users below an id, newest first.
	Users(ctx context.Context, filter Filter, below *int64, limit int) ([]User, error)
	// SetEnabled changes a user and, when it disables, ends all sessions. It
	// says whether there was anything to change. It is [User.MayAdminister] of
	// the admin, who stays what he is until it is done.
	SetEnabled(ctx context.Context, admin, id int64, enabled bool) (User, bool, error)
}

// NewUser is a user to be.
type NewUser struct {
	Login        string
	PasswordHash string
	Role         Role
}

// Users registers, activates, shows and disables users.
type Users struct {
	store        UserStore
	credentials  *Credentials
	linkLifetime time.Duration
	changed      func()
}

// NewUsers makes Users. It calls changed after each change, so that it can be
// published at once.
func NewUsers(store UserStore, credentials *Credentials, linkLifetime time.Duration, changed func()) *Users {
	return &Users{store: store, credentials: credentials, linkLifetime: linkLifetime, changed: changed}
}

// Register adds an inactive user and gives the secret of the link that
// activates it.
func (u *Users) Register(ctx context.Context, login, password, address string) (User, string, error) {
	if err := CheckLogin(login); err != nil {
		return User{}, "", err
	}
	hash, err := u.credentials.HashNewcomer(ctx, login, password, address, func() error { return u.free(ctx, login) })
	if err != nil {
		return User{}, "", err
	}
	secret := NewSecret()
	user, err := u.store.Register(ctx, NewUser{Login: login, PasswordHash: hash, Role: RoleUser}, &Link{Hash: secret.Hash(), Lifetime: u.linkLifetime})
	if err != nil {
		return User{}, "", err
	}
	u.changed()
	return user, secret.Text(), nil
}

// free saves the hash, which is the dear part of a registration. Nothing is given
// away that the answer would not say anyway.
func (u *Users) free(ctx context.Context, login string) error {
	taken, err := u.store.LoginTaken(ctx, login)
	if err == nil && taken {
		err = ErrLoginTaken
	}
	return err
}

// Activate follows a link; following it again gives the same answer.
func (u *Users) Activate(ctx context.Context, text string) (User, error) {
	secret, ok := ParseSecret(text)
	if !ok {
		return User{}, ErrActivationNotFound
	}
	user, err := u.store.Activate(ctx, secret.Hash())
	if err != nil {
		return User{}, err
	}
	u.changed()
	return user, nil
}

// NewLink gives the secret of a new link to a user who is not yet active.
func (u *Users) NewLink(ctx context.Context, login, password, address string) (string, error) {
	user, err := u.credentials.CheckNewcomer(ctx, login, password, address)
	if err != nil {
		return "", err
	}
	switch user.Status() {
	case Disabled:
		return "", ErrUserDisabled
	case Active:
		return "", ErrAlreadyActive
	}
	secret := NewSecret()
	if err := u.store.AddLink(ctx, user.ID, Link{Hash: secret.Hash(), Lifetime: u.linkLifetime}); err != nil {
		return "", err
	}
	return secret.Text(), nil
}

// Get reads one user.
func (u *Users) Get(ctx context.Context, id int64) (User, error) { return u.store.User(ctx, id) }

// List reads users below an id, newest first.
func (u *Users) List(ctx context.Context, filter Filter, below *int64, limit int) ([]User, error) {
	return u.store.Users(ctx, filter, below, limit)
}

// SetEnabled disables a user, whose tokens and sessions end with it, or takes
// that back. Nobody can disable himself, and only an active admin disables
// another: so there is always one left.
func (u *Users) SetEnabled(ctx context.Context, admin, id int64, enabled bool) (User, error) {
	if admin == id && !enabled {
		return User{}, ErrCannotDisableSelf
	}
	user, changed, err := u.store.SetEnabled(ctx, admin, id, enabled)
	if err != nil {
		return User{}, fmt.Errorf("set enabled: %w", err)
	}
	if changed {
		u.changed()
	}
	return user, nil
}
