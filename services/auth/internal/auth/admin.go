package auth

import (
	"context"
	"errors"
	"fmt"
)

// AdminStore is what [Admins] needs of the database.
type AdminStore interface {
	CredentialStore
	Register(ctx context.Context, user NewUser, link *Link) (User, error)
	// SetRole changes a role and raises the token version. It says whether
	// there was anything to change; ErrLastAdmin when no active admin would be
	// left.
	SetRole(ctx context.Context, login string, role Role) (changed bool, err error)
}

// ErrLastAdmin refuses to leave the shop without an admin.
var ErrLastAdmin = errors.New("this is the last active admin; grant the role to another user first")

// Admins makes admins, from configuration or by command.
type Admins struct {
	store       AdminStore
	credentials *Credentials
}

// NewAdmins makes Admins.
func NewAdmins(store AdminStore, credentials *Credentials) *Admins {
	return &Admins{store: store, credentials: credentials}
}

// Bootstrap sees to it that an admin of that login exists, and says whether it
// made one. An admin that is there keeps its password; a plain user is never
// promoted. Several replicas may do it at once.
func (a *Admins) Bootstrap(ctx context.Context, login, password string) (made bool, err error) {
	for {
		user, _, err := a.store.Credential(ctx, login)
		switch {
		case err == nil && user.Role == RoleAdmin:
			return false, nil
		case err == nil:
			return false, fmt.Errorf("%w: ADMIN_LOGIN names %s, who is a plain user: take another login, or run `auth admin grant %s`", ErrNotAdmin, user.Login, user.Login)
		case !isNotFound(err):
			return false, err
		}
		_, err = a.Create(ctx, login, password)
		if errors.Is(err, ErrLoginTaken) {
			continue // another replica was faster: look again at who it is
		}
		return err == nil, err
	}
}

// ErrNotAdmin means that the configured admin is a plain user.
var ErrNotAdmin = errors.New("the first admin is not an admin")

// Create adds an active admin; ErrLoginTaken when the login is in use.
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

// SetRole makes a user an admin, or an admin a user. The user's access tokens
// end; sessions go on and get tokens with the new role.
func (a *Admins) SetRole(ctx context.Context, login string, role Role) (changed bool, err error) {
	return a.store.SetRole(ctx, login, role)
}
