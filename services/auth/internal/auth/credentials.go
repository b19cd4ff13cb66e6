package auth

import "context"

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
	attempt, err := c.throttle.Begin(login, address)
	if err != nil {
		return User{}, "", err
	}
	user, hash, err := c.find(ctx, login)
	if err != nil {
		return User{}, "", err
	}
	same, err := c.hasher.Verify(ctx, hash, password)
	if err != nil {
		return User{}, "", err
	}
	if !same {
		attempt.Failed()
		return User{}, "", ErrInvalidCredentials
	}
	attempt.Succeeded()
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
	return c.hashNew(ctx, login, password, "password")
}

func (c *Credentials) hashNew(ctx context.Context, login, password, field string) (string, error) {
	if err := checkPasswordLength(password, field); err != nil {
		return "", err
	}
	return c.hasher.Hash(ctx, password, func() error { return checkPasswordStrength(login, password, field) })
}
