package auth

import (
	"context"
	"errors"
	"fmt"
)

// AdminStore is the part of the database that [Admins] needs.
type AdminStore interface {
	CredentialStore
	// Register adds a user, or returns ErrLoginTaken. Without a link, the user is
	// active immediately.
	Register(ctx context.Context, user NewUser, link *Link) (User, error)
	// SetRole changes the role of the user with a login and increases the token
	// version. It reports whether the role changed. It returns ErrUserNotFound, or
	// ErrLastAdmin if no active admin would be left.
	SetRole(ctx context.Context, login string, role Role) (changed bool, err error)
}

// ErrLastAdmin means that the change would leave the shop without an active admin.
var ErrLastAdmin = errors.New("this is the last active admin; grant the role to another user first")

// Admins creates admins and changes roles, for the configuration and the commands.
type Admins struct {
	store       AdminStore
	credentials *Credentials
}

// NewAdmins returns Admins.
func NewAdmins(store AdminStore, credentials *Credentials) *Admins {
	return &Admins{store: store, credentials: credentials}
}

// Bootstrap creates an admin with this login unless the admin exists, and reports
// whether it did. An existing admin keeps their password; if the login belongs to
// a user who is not an admin, it returns ErrNotAdmin and does not promote them.
// Several replicas may call it at once.
func (a *Admins) Bootstrap(ctx context.Context, login, password string) (created bool, err error) {
	for {
		user, _, err := a.store.Credential(ctx, login)
		switch {
		case err == nil && user.Role == RoleAdmin:
			return false, nil
		case err == nil:
			return false, fmt.Errorf("%w: %s is an existing user without that role; choose another login, or run `auth admin grant %s`", ErrNotAdmin, user.Login, user.Login)
		case !errors.Is(err, ErrUserNotFound):
			return false, err
		}
		_, err = a.Create(ctx, login, password)
		if errors.Is(err, ErrLoginTaken) {
			continue // another replica created the user first: check its role
		}
		return err == nil, err
	}
}

// ErrNotAdmin means that the configured login belongs to a user who is not an
// admin.
var ErrNotAdmin = errors.New("ADMIN_LOGIN is not an admin")

// Create adds an active admin, or returns ErrLoginTaken.
func (a *Admins) Create(ctx context.Context, login, password string) (User, error) {
	if err := CheckLogin(login); err != nil {
		return User{}, err
	}
	hash, err := a.credentials.HashNew(ctx, login, password)
	if err != nil {
		return User{}, err
	}
	return a.store.Register(ctx, NewUser{Login: login, PasswordHash: hash, Role: RoleAdmin}, nil)
}

// SetRole changes a user's role and reports whether it changed. Their access tokens
// are revoked; their sessions continue, and get tokens with the new role.
func (a *Admins) SetRole(ctx context.Context, login string, role Role) (changed bool, err error) {
	return a.store.SetRole(ctx, login, role)
}
