package auth

import (
	"context"
	"errors"
	"fmt"

	"lavka/libs/domain/problem"
)

// AdminStore is the part of the database that [Admins] needs.
type AdminStore interface {
	CredentialStore
	// Register adds a user, or returns ErrLoginTaken. Without a link, the user is
	// active immediately.
	Register(ctx context.Context, user NewUser, link *Link) (User, error)
	// SetRole changes the role of the user with a login and increases the token
	// version. It reports whether the role changed. It returns ErrUserNotFound,
	// ErrLastAdmin if no active admin would be left, or [opened.ErrNotYet] for
	// RoleSupport until the upgrade is complete.
	SetRole(ctx context.Context, login string, role Role) (changed bool, err error)
	// AdminExists reports whether there is an active admin.
	AdminExists(ctx context.Context) (bool, error)
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

// Bootstrap creates an admin with this login if no user has it, and reports whether
// it did. An existing admin keeps their password. Several replicas may call it at
// once. Everything else that keeps the login from being an admin's is an error. If the
// shop has an active admin all the same, it is [ErrNotAdmin], whatever the reason: what
// only the first start needs does not matter at later ones.
func (a *Admins) Bootstrap(ctx context.Context, login, password string) (created bool, err error) {
	for {
		user, _, err := a.store.Credential(ctx, login)
		switch {
		case err == nil && user.Role == RoleAdmin:
			return false, nil
		case err == nil:
			// They may be a customer who has chosen this login. They are never promoted.
			return false, ErrNotAdmin
		case !errors.Is(err, ErrUserNotFound):
			return false, err
		}
		_, err = a.Create(ctx, login, password)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, ErrLoginTaken):
			continue // another replica created the user first: check its role
		case problem.From(err).Kind != problem.Invalid:
			return false, err
		}
		exists, unknown := a.store.AdminExists(ctx)
		if unknown != nil {
			return false, unknown
		}
		if exists {
			return false, fmt.Errorf("%w: %w", ErrNotAdmin, err)
		}
		return false, err
	}
}

// ErrNotAdmin means that the configured login belongs to no admin, and that auth can
// be used without: the login is another user's, or the shop has another admin.
var ErrNotAdmin = errors.New("ADMIN_LOGIN is not an admin's")

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
