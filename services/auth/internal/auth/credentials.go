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
	strength Strength
}

// ErrInvalidCredentials refuses a login and password without revealing which of the
// two is wrong.
var ErrInvalidCredentials = problem.New(problem.Unauthenticated, "invalid_credentials", "the login or the password is wrong")

// NewCredentials returns Credentials that accept new passwords of a strength.
func NewCredentials(store CredentialStore, hasher *Hasher, throttle *Throttle, strength Strength) *Credentials {
	return &Credentials{store: store, hasher: hasher, throttle: throttle, strength: strength}
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
	err = c.AsNewcomer(address, func() (err error) {
		user, _, err = c.check(ctx, newcomer, login, password, address)
		return err
	})
	return user, err
}

// check waits for a turn, in which it has a try. While the attempts in flight have
// reserved the tries that remain, it waits for their outcome: a client with the
// right password is not refused because it sends many requests at once.
func (c *Credentials) check(ctx context.Context, as caller, login, password, address string) (user User, hash string, err error) {
	if err := c.throttle.Check(login, address); err != nil {
		return User{}, "", err
	}
	var attempt Attempt
	may := func() (began bool, err error) {
		attempt, began, err = c.throttle.Begin(login, address)
		return began, err
	}
	err = c.hasher.inTurn(ctx, newClaim(as, login, address), may, func() error {
		outcome := Undecided
		defer func() { attempt.End(outcome) }()
		if err := ctx.Err(); err != nil { // the client has left in the meantime
			return err
		}
		if user, hash, err = c.find(ctx, login); err != nil {
			return err
		}
		same, err := c.hasher.verify(hash, password)
		switch {
		case err != nil:
			return err
		case !same:
			outcome = Failed
			return ErrInvalidCredentials
		}
		outcome = Succeeded
		return nil
	})
	if err != nil {
		return User{}, "", err
	}
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

// AsNewcomer calls f, a registration from an address or a request that is limited
// like one. A request that was refused because of a limit is not counted, since the
// client was told to retry.
func (c *Credentials) AsNewcomer(address string, f func() error) error {
	end, err := c.throttle.Join(address)
	if err != nil {
		return err
	}
	counts := true // also if f panics
	defer func() { end(counts) }()
	err = f()
	counts = !errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrTooManyAttempts)
	return err
}

// HashNew hashes a new password, or returns a problem that says why it is refused.
func (c *Credentials) HashNew(ctx context.Context, login, password string) (string, error) {
	return c.hashNew(ctx, newClaim(member, login, ""), login, password, "password", unchecked)
}

// HashNewcomer is [Credentials.HashNew] for a registration from an address. When it
// is the registration's turn, it first calls free, which returns an error if the
// login has been taken in the meantime.
func (c *Credentials) HashNewcomer(ctx context.Context, login, password, address string, free func() error) (string, error) {
	return c.hashNew(ctx, newClaim(newcomer, login, address), login, password, "password", free)
}

// HashChanged is [Credentials.HashNew] for a user who changes their password.
func (c *Credentials) HashChanged(ctx context.Context, login, password, address string) (string, error) {
	return c.hashNew(ctx, newClaim(member, login, address), login, password, "new_password", unchecked)
}

// HashReset is [Credentials.HashNew] for a user who resets their password with a link.
// When it is the request's turn, it first calls still, which returns an error if the
// link is no longer valid.
func (c *Credentials) HashReset(ctx context.Context, login, password, address string, still func() error) (string, error) {
	return c.hashNew(ctx, newClaim(member, login, address), login, password, "new_password", still)
}

func unchecked() error { return nil }

func (c *Credentials) hashNew(ctx context.Context, whose claim, login, password, field string, check func() error) (hash string, err error) {
	password = Normalize(password)
	if err := checkPasswordForm(password, field); err != nil {
		return "", err
	}
	err = c.hasher.inTurn(ctx, whose, always, func() error {
		if err := ctx.Err(); err != nil { // the client has left in the meantime
			return err
		}
		if err := check(); err != nil {
			return err
		}
		if err := checkPasswordStrength(login, password, field, c.strength); err != nil {
			return err
		}
		hash = c.hasher.hash(password)
		return nil
	})
	return hash, err
}
