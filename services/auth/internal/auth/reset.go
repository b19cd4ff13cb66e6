package auth

import (
	"context"
	"time"

	"lavka/libs/domain/problem"
)

// ResetLifetime is how long a link to reset a password is valid.
const ResetLifetime = 30 * time.Minute

// MaxResets is how many links to reset their password a user may have. A new one beyond
// that replaces the oldest. It is above the number of attempts to send links within
// [ResetLifetime], so that no stranger's requests replace a valid one.
const MaxResets = 120

// StoredReset is a link to reset a password as stored.
type StoredReset struct {
	Version   int64 // the user's ResetVersion when the link was made
	ExpiresAt time.Time
}

// The problems with links to reset a password.
var (
	ErrResetNotFound = problem.New(problem.NotFound, "reset_not_found", "this link is unknown, was already used or replaced, or is no longer valid because the password, role or status has changed; request a new one")
	ErrResetExpired  = problem.New(problem.Gone, "reset_expired", "this link has expired; request a new one")
)

// DecideReset returns nil if a link resets its user's password at this time, otherwise
// ErrResetNotFound or ErrResetExpired. A link is void once the user gets a new
// password or role or is disabled: so it works once, and only one of several does.
func DecideReset(now time.Time, link StoredReset, user User) error {
	switch {
	case link.Version != user.ResetVersion || user.DisabledAt != nil:
		return ErrResetNotFound
	case !now.Before(link.ExpiresAt):
		return ErrResetExpired
	}
	return nil
}

// ResetStore is the part of the database that [Resets] needs. Each method is one
// transaction.
type ResetStore interface {
	// CheckReset returns the user of a link, or the error of [DecideReset].
	CheckReset(ctx context.Context, token TokenHash) (User, error)
	// ResetPassword sets the password of a link's user, ends all of their sessions and
	// increases the token version. It returns the error of [DecideReset].
	ResetPassword(ctx context.Context, token TokenHash, newHash string) error
	// AddReset adds a link for a user on behalf of an admin, and deletes the user's
	// links beyond the newest MaxResets. It returns the error of [User.MayAct] or
	// [User.MayAdminister] for the admin, ErrUserNotFound, or ErrUserDisabled.
	AddReset(ctx context.Context, admin Caller, userID int64, link Link) error
	// RequestReset records that someone has asked for a link for a login, which is
	// folded, and "" if no user can have it. It costs the same whether or not there is
	// such a user. It does nothing while [MaxResetRequests] wait.
	RequestReset(ctx context.Context, login string) error
}

// Resets lets users who have forgotten their password set a new one.
type Resets struct {
	store       ResetStore
	credentials *Credentials
	changed     func()
	send        func()
}

// NewResets returns Resets. It calls changed after each change of a user. For send, see
// [NewUsers].
func NewResets(store ResetStore, credentials *Credentials, changed, send func()) *Resets {
	return &Resets{store: store, credentials: credentials, changed: changed, send: send}
}

// Request asks for a link to be sent to the user with a login. What it does, and how
// long that takes, does not depend on whether there is one. It returns
// ErrTooManyAttempts for too many requests for a login from an address, or from an
// address. If links are not sent, it does no more than count.
func (r *Resets) Request(ctx context.Context, login, address string) error {
	if err := r.credentials.throttle.Request(login, address); err != nil || r.send == nil {
		return err
	}
	if err := r.store.RequestReset(ctx, known(login)); err != nil {
		return err
	}
	r.send()
	return nil
}

// NewLink returns the secret of a new link for a user, which an admin hands over, or ""
// if it is sent.
func (r *Resets) NewLink(ctx context.Context, admin Caller, userID int64) (string, error) {
	link, text := newLink(ResetLifetime, r.send)
	if err := r.store.AddReset(ctx, admin, userID, link); err != nil {
		return "", err
	}
	wake(r.send)
	return text, nil
}

// Confirm sets a new password with a link, ends every session of the user and revokes
// their access tokens. It does not activate the user. It returns ErrResetNotFound or
// ErrResetExpired before it hashes anything.
func (r *Resets) Confirm(ctx context.Context, token, next, address string) error {
	if err := checkPasswordForm(Normalize(next), "new_password"); err != nil {
		return err
	}
	secret, ok := ParseSecret(token)
	if !ok {
		return ErrResetNotFound
	}
	user, err := r.store.CheckReset(ctx, secret.Hash())
	if err != nil {
		return err
	}
	still := func() error {
		_, err := r.store.CheckReset(ctx, secret.Hash())
		return err
	}
	hash, err := r.credentials.HashReset(ctx, user.Login, next, address, still)
	if err != nil {
		return err
	}
	if err := r.store.ResetPassword(ctx, secret.Hash(), hash); err != nil {
		return err
	}
	r.credentials.throttle.Forgive(user.Login, address)
	r.changed()
	return nil
}
