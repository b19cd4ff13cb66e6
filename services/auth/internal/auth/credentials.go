package auth

import (
	"context"
	"errors"

	"lavka/libs/domain/problem"
)

// CredentialStore is the part of the database that [Credentials] needs.
type CredentialStore interface {
	// Credential returns the user with a login and their password hash, or
	// ErrUserNotFound. The login is not case-sensitive.
	Credential(ctx context.Context, login string) (User, string, error)
}

// Credentials checks logins and passwords.
type Credentials struct {
	store    CredentialStore
	hasher   *Hasher
	throttle *Throttle
}

// ErrInvalidCredentials refuses a login and password without revealing which of the
// two is wrong.
var ErrInvalidCredentials = problem.New(problem.Unauthenticated, "invalid_credentials", "the login or the password is wrong")

// NewCredentials returns Credentials.
func NewCredentials(store CredentialStore, hasher *Hasher, throttle *Throttle) *Credentials {
	return &Credentials{store: store, hasher: hasher, throttle: throttle}
}

// Check returns the user with this login and password, whatever their status, and
// the hash that was checked. For an unknown login it does the same work and
// returns the same ErrInvalidCredentials as for a wrong password.
// ErrTooManyAttempts is returned before any work is done.
func (c *Credentials) Check(ctx context.Context, login, password, address string) (User, string, error) {
	return c.check(ctx, member, login, password, address)
}

// CheckNewcomer is [Credentials.Check] for requests that need no active account.
// They are queued and counted with registrations.
func (c *Credentials) CheckNewcomer(ctx context.Context, login, password, address string) (user User, err error) {
	err = c.asNewcomer(address, func() (err error) {
		user, _, err = c.check(ctx, newcomer, login, password, address)
		return err
	})
	return user, err
}

func (c *Credentials) check(ctx context.Context, as caller, login, password, address string) (User, string, error) {
	attempt, err := c.throttle.Begin(login, address)
	if err != nil {
		return User{}, "", err
	}
	outcome := Undecided
	defer func() { attempt.End(outcome) }()
	user, hash, err := c.find(ctx, login)
	if err != nil {
		return User{}, "", err
	}
	same, err := c.hasher.Verify(ctx, as, hash, password)
	if err != nil {
		return User{}, "", err
	}
	if !same {
		outcome = Failed
		return User{}, "", ErrInvalidCredentials
	}
	outcome = Succeeded
	return user, hash, nil
}

// find returns the zero User and an empty hash for a login that does not exist.
func (c *Credentials) find(ctx context.Context, login string) (User, string, error) {
	if CheckLogin(login) != nil {
		return User{}, "", nil
	}
	user, hash, err := c.store.Credential(ctx, login)
	if errors.Is(err, ErrUserNotFound) {
		return User{}, "", nil
	}
	return user, hash, err
}

// HashNew hashes a new password, or returns a problem that says why it is refused.
func (c *Credentials) HashNew(ctx context.Context, login, password string) (string, error) {
	return c.hashNew(ctx, member, login, password, "password")
}

// HashNewcomer is [Credentials.HashNew] for a registration from an address. It
// first calls free, which returns an error if the login is taken. Such an attempt
// counts as a registration too, which limits how fast a client can find out which
// logins exist.
func (c *Credentials) HashNewcomer(ctx context.Context, login, password, address string, free func() error) (hash string, err error) {
	err = c.asNewcomer(address, func() (err error) {
		if err := free(); err != nil {
			return err
		}
		hash, err = c.hashNew(ctx, newcomer, login, password, "password")
		return err
	})
	return hash, err
}

// asNewcomer calls hash and counts it against the address. An attempt that was
// refused before any hashing is not counted, since the client was told to retry.
func (c *Credentials) asNewcomer(address string, hash func() error) error {
	if err := c.throttle.MayJoin(address); err != nil {
		return err
	}
	err := hash()
	if !errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrTooManyAttempts) {
		c.throttle.Joined(address)
	}
	return err
}

func (c *Credentials) hashNew(ctx context.Context, as caller, login, password, field string) (string, error) {
	if err := checkPasswordLength(password, field); err != nil {
		return "", err
	}
	return c.hasher.Hash(ctx, as, password, func() error { return checkPasswordStrength(login, password, field) })
}
