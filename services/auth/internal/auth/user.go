// Package auth holds the rules for the shop's users: accounts, passwords, roles
// and sessions. It is independent of HTTP, SQL and NATS.
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/problem"
)

// Role determines what a user may do.
type Role string

// The roles. Support reads what an admin reads, and changes no more than a user may. An
// admin may do everything.
const (
	RoleUser    Role = "user"
	RoleSupport Role = "support"
	RoleAdmin   Role = "admin"
)

// Status is derived from ActivatedAt and DisabledAt; see [User.Status].
type Status string

// The statuses.
const (
	Inactive Status = "inactive"
	Active   Status = "active"
	Disabled Status = "disabled"
)

// User is a registered account, whatever its status.
type User struct {
	ID           int64
	Login        string
	Role         Role
	ActivatedAt  *time.Time // set once, by an activation link
	DisabledAt   *time.Time // set and cleared by an admin
	Version      int64      // increases with every change
	ChangedAt    time.Time  // when Version last increased
	TokenVersion int64      // access tokens with a lower version are revoked
	CreatedAt    time.Time
	Trace        string // W3C traceparent of the last change; "" for none

	SessionVersion  int64      // sessions of a lower version have ended
	SessionsEndedAt *time.Time // when SessionVersion last increased

	ResetVersion int64 // links to reset the password of a lower version are void
}

// Caller is who an access token says is calling.
type Caller struct {
	UserID, TokenVersion int64
	Session              uuid.UUID // zero if the token is of a release up to v0.6.0
}

// The problems with users.
var (
	ErrUserNotFound      = problem.New(problem.NotFound, "user_not_found", "this user does not exist")
	ErrLoginTaken        = problem.New(problem.Conflict, "login_taken", "this login is taken; logins are not case-sensitive")
	ErrUserInactive      = problem.New(problem.Forbidden, "user_inactive", "this user is not active yet; follow the activation link, or request a new one with POST /auth/activation")
	ErrUserDisabled      = problem.New(problem.Forbidden, "user_disabled", "this user is disabled; only an admin can enable them")
	ErrTokenRevoked      = problem.New(problem.Unauthenticated, "token_invalid", "the access token was revoked; log in or refresh")
	ErrForbidden         = problem.New(problem.Forbidden, "forbidden", "you are no longer an active admin")
	ErrCannotDisableSelf = problem.New(problem.Conflict, "cannot_disable_self", "you can't disable yourself; ask another admin")
)

// TokenVersion is a user's current token version: access tokens of that user
// with a lower version are revoked.
type TokenVersion struct{ UserID, Version int64 }

// Change is the last change of a user.
type Change struct {
	UserID    int64
	At        time.Time
	PublishAt time.Time // when the user is due to be published
}

// Status returns the user's status. Disabled takes precedence, so that enabling a
// user restores the status from before.
func (u User) Status() Status {
	switch {
	case u.DisabledAt != nil:
		return Disabled
	case u.ActivatedAt == nil:
		return Inactive
	}
	return Active
}

// MayLogIn returns nil for an active user, otherwise ErrUserDisabled or
// ErrUserInactive.
func (u User) MayLogIn() error {
	switch u.Status() {
	case Active:
		return nil
	case Inactive:
		return ErrUserInactive
	default:
		return ErrUserDisabled
	}
}

// MayAct returns ErrTokenRevoked if the caller's access token has been revoked, or
// its user disabled. A service learns of that from a message, which takes some
// milliseconds. auth has the user's row, and decides by it: what it writes, under the
// row's lock.
func (u User) MayAct(caller Caller) error {
	if u.Status() != Active || caller.TokenVersion < u.TokenVersion {
		return ErrTokenRevoked
	}
	return nil
}

// MayAdminister returns nil for an active admin, otherwise ErrForbidden. A valid
// token does not replace this check: the user may have lost the role, or been
// disabled, since the token was issued.
func (u User) MayAdminister() error {
	if u.Role != RoleAdmin || u.Status() != Active {
		return ErrForbidden
	}
	return nil
}

// Filter selects users for a list. Its zero value selects all.
type Filter struct {
	Status Status
	Login  string // a part of the login, not case-sensitive
}

// UserStore is the part of the database that [Users] needs. Each method is one
// transaction.
type UserStore interface {
	// Register adds a user, or returns ErrLoginTaken. Without a link, the user is
	// active immediately.
	Register(ctx context.Context, user NewUser, link *Link) (User, error)
	// LoginTaken reports whether a login is in use. It is not case-sensitive.
	LoginTaken(ctx context.Context, login string) (bool, error)
	// Activate follows an activation link as [DecideActivation] decides, or
	// returns ErrActivationNotFound.
	Activate(ctx context.Context, token TokenHash) (User, error)
	// CheckLink returns what Activate would, and changes nothing.
	CheckLink(ctx context.Context, token TokenHash) (User, error)
	// AddLink adds an activation link, and deletes the user's unused links beyond the
	// newest MaxLinks. One that is sent replaces none.
	AddLink(ctx context.Context, userID int64, link Link) error
	// User returns a user, or ErrUserNotFound.
	User(ctx context.Context, id int64) (User, error)
	// Users returns at most limit users, newest first. If below is set, it returns
	// only users with a lower id.
	Users(ctx context.Context, filter Filter, below *int64, limit int) ([]User, error)
	// SetEnabled enables or disables a user on behalf of an admin; disabling also
	// ends all sessions of the user, and costs the same however many there are. It
	// reports whether the user changed. It returns the error of [User.MayAct] or
	// [User.MayAdminister] for the admin, whose row is locked until the change is
	// committed.
	SetEnabled(ctx context.Context, admin Caller, id int64, enabled bool) (user User, changed bool, err error)
}

// NewUser is a user to add.
type NewUser struct {
	Login        string
	PasswordHash string
	Role         Role
}

// Users registers, activates, lists and disables users.
type Users struct {
	store        UserStore
	credentials  *Credentials
	linkLifetime time.Duration
	changed      func()
	send         func()

	registrations registrations
}

// NewUsers returns Users whose activation links are valid for linkLifetime. It
// calls changed after each change, so that the change is published without delay. If
// send is not nil, links are sent to their users rather than returned, and it is called
// whenever there is one to send.
func NewUsers(store UserStore, credentials *Credentials, linkLifetime time.Duration, changed, send func()) *Users {
	return &Users{store: store, credentials: credentials, linkLifetime: linkLifetime, changed: changed, send: send}
}

// Register adds an inactive user. It returns the user and the secret of the
// activation link, "" if that is sent. If the login is taken, it returns ErrLoginTaken before it hashes
// anything. Concurrent registrations of a login wait for the first one.
func (u *Users) Register(ctx context.Context, login, password, address string) (user User, link string, err error) {
	if err := CheckLogin(login); err != nil {
		return User{}, "", err
	}
	err = u.credentials.AsNewcomer(address, func() error {
		return u.registrations.do(ctx, Fold(login), func() error {
			user, link, err = u.register(ctx, login, password, address)
			return err
		})
	})
	return user, link, err
}

func (u *Users) register(ctx context.Context, login, password, address string) (User, string, error) {
	free := func() error { return u.free(ctx, login) }
	if err := free(); err != nil {
		return User{}, "", err
	}
	hash, err := u.credentials.HashNewcomer(ctx, login, password, address, free)
	if err != nil {
		return User{}, "", err
	}
	link, text := newLink(u.linkLifetime, u.send)
	user, err := u.store.Register(ctx, NewUser{Login: login, PasswordHash: hash, Role: RoleUser}, &link)
	if err != nil {
		return User{}, "", err
	}
	u.changed()
	wake(u.send)
	return user, text, nil
}

// newLink returns a link and its secret, or one that is sent.
func newLink(lifetime time.Duration, send func()) (Link, string) {
	if send != nil {
		return Link{Sent: true}, ""
	}
	secret := NewSecret()
	return Link{Hash: secret.Hash(), Lifetime: lifetime}, secret.Text()
}

// wake calls send if links are sent.
func wake(send func()) {
	if send != nil {
		send()
	}
}

// free returns ErrLoginTaken if the login is in use. It reveals nothing that the
// response would not.
func (u *Users) free(ctx context.Context, login string) error {
	taken, err := u.store.LoginTaken(ctx, login)
	if err == nil && taken {
		err = ErrLoginTaken
	}
	return err
}

// Activate follows an activation link. Following it again returns the same
// result.
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

// CheckLink returns what [Users.Activate] would, and does not follow the link.
func (u *Users) CheckLink(ctx context.Context, text string) (User, error) {
	secret, ok := ParseSecret(text)
	if !ok {
		return User{}, ErrActivationNotFound
	}
	return u.store.CheckLink(ctx, secret.Hash())
}

// NewLink adds another activation link for an inactive user and returns its secret, ""
// if it is sent.
func (u *Users) NewLink(ctx context.Context, login, password, address string) (string, error) {
	user, err := u.credentials.CheckNewcomer(ctx, login, password, address)
	if err != nil {
		return "", err
	}
	switch user.Status() {
	case Inactive:
	case Active:
		return "", ErrAlreadyActive
	default:
		return "", ErrUserDisabled
	}
	link, text := newLink(u.linkLifetime, u.send)
	if err := u.store.AddLink(ctx, user.ID, link); err != nil {
		return "", err
	}
	wake(u.send)
	return text, nil
}

// CheckToken returns the user of a token, as their row is, or the error of
// [User.MayAct].
func (u *Users) CheckToken(ctx context.Context, caller Caller) (User, error) {
	user, err := u.store.User(ctx, caller.UserID)
	if errors.Is(err, ErrUserNotFound) {
		return User{}, ErrTokenRevoked // the database was restored to a time before the user
	}
	if err != nil {
		return User{}, err
	}
	return user, user.MayAct(caller)
}

// Get returns a user, or ErrUserNotFound.
func (u *Users) Get(ctx context.Context, id int64) (User, error) { return u.store.User(ctx, id) }

// List returns at most limit users, newest first. If below is set, it returns
// only users with a lower id.
func (u *Users) List(ctx context.Context, filter Filter, below *int64, limit int) ([]User, error) {
	return u.store.Users(ctx, filter, below, limit)
}

// SetEnabled enables or disables a user on behalf of an admin. Disabling also
// revokes the user's tokens and ends their sessions. Admins can't disable
// themselves, and only an active admin can disable another, so at least one
// active admin always remains.
func (u *Users) SetEnabled(ctx context.Context, admin Caller, id int64, enabled bool) (User, error) {
	if admin.UserID == id && !enabled {
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
