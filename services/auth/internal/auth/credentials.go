package auth

import (
	"context"
	"errors"
)

// CredentialStore is what [Credentials] needs of the database.
type CredentialStore interface {
	// Credential gives a user and its password hash; ErrUserNotFound when no
	// user has that login, in whatever case.
	Credential(ctx context.Context, login string) (User, string, error)
}

// Credentials checks logins with passwords.
type Credentials struct {
	store    CredentialStore
	hasher   *Hasher
	throttle *Throttle
}

// NewCredentials makes Credentials.
func NewCredentials(store CredentialStore, hasher *Hasher, throttle *Throttle) *Credentials {
	return &Credentials{store: store, hasher: hasher, throttle: throttle}
}

// Check finds the user whose login and password these are, in whatever status,
// and gives the hash that was checked. An unknown login and a wrong password
// are the same ErrInvalidCredentials after the same work. ErrTooManyAttempts
// comes before any work.
func (c *Credentials) Check(ctx context.Context, login, password, address string) (User, string, error) {
	return c.check(ctx, member, login, password, address)
}

// CheckNewcomer is [Credentials.Check] for what needs no active account.
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

// find gives no user and no hash for a login that nobody has.
func (c *Credentials) find(ctx context.Context, login string) (User, string, error) {
	if CheckLogin(login) != nil {
		return User{}, "", nil
	}
	user, hash, err := c.store.Credential(ctx, login)
	if isNotFound(err) {
		return User{}, "", nil
	}
	return user, hash, err
}

// HashNew hashes a new user's password, or says why it is no good.
func (c *Credentials) HashNew(ctx context.Context, login, password string) (string, error) {
	return c.hashNew(ctx, member, login, password, "password")
}

// HashNewcomer is [Credentials.HashNew] for somebody at an address who
// registers, if the login is free. Asking for a login counts like registering:
// nobody learns fast who there is.
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

// asNewcomer counts what hashes for a newcomer. Whoever was turned away before
// that, and tries again as he was told, is not counted for it.
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
