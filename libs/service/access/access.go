// Package access checks the access token of a request and the role that its route
// requires. The service's OpenAPI contract says which route requires which role.
package access

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
	"lavka/libs/service/revocation"
	"lavka/libs/service/token"
)

var (
	errMissing  = problem.New(problem.Unauthenticated, "unauthenticated", "log in and send the access token as: Authorization: Bearer <token>")
	errBad      = problem.New(problem.Unauthenticated, "token_invalid", "the access token is not valid, has expired or was revoked; log in or refresh")
	errRole     = problem.New(problem.Forbidden, "forbidden", "your role does not permit this")
	errStarting = problem.New(problem.Unavailable, "starting", "this replica has just started and can't check tokens yet; retry").Retry(time.Second)
)

// Guard checks the token of a request.
type Guard struct {
	tokens  *token.Verifier
	revoked *revocation.Versions
}

// NewGuard returns a Guard.
func NewGuard(tokens *token.Verifier, revoked *revocation.Versions) *Guard {
	return &Guard{tokens: tokens, revoked: revoked}
}

// roles in ascending order: each may do everything that those before it may.
var roles = []string{token.RoleUser, token.RoleSupport, token.RoleAdmin}

// Protect returns the middleware of each operation that the contract protects, by
// operation id. `security: [{bearer: [support]}]` names the lowest role that may call
// it. It leaves out operations with another scheme than bearer. The open operations can
// also be called without a token: then the context has no identity, but a [Caller].
func (g *Guard) Protect(contract *openapi3.T, open ...string) (map[string][]echo.MiddlewareFunc, error) {
	protected := map[string][]echo.MiddlewareFunc{}
	for path, item := range contract.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security == nil || len(*op.Security) == 0 {
				continue
			}
			scopes, ok := (*op.Security)[0]["bearer"]
			if !ok {
				continue
			}
			if len(scopes) != 1 || !slices.Contains(roles, scopes[0]) {
				return nil, fmt.Errorf("contract: %s %s: security must be bearer: [role], with one of the roles %v", method, path, roles)
			}
			check := g.require(scopes[0])
			if slices.Contains(open, op.OperationID) {
				check = orAnonymous(check)
			}
			protected[op.OperationID] = []echo.MiddlewareFunc{check}
		}
	}
	return protected, nil
}

// require answers 503 "starting" until signing keys and token versions have been
// read, 401 without a valid token, and 403 if its role is lower than lowest.
func (g *Guard) require(lowest string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			id, err := g.identify(c)
			if err != nil {
				return err
			}
			if slices.Index(roles, id.Role) < slices.Index(roles, lowest) {
				return errRole
			}
			c.SetRequest(c.Request().WithContext(With(c.Request().Context(), id)))
			return next(c)
		}
	}
}

func (g *Guard) identify(c echo.Context) (token.Identity, error) {
	if !g.tokens.Ready() || !g.revoked.Ready() {
		return token.Identity{}, errStarting
	}
	raw, err := bearer(c.Request())
	if err != nil {
		return token.Identity{}, err
	}
	id, err := g.tokens.Verify(c.Request().Context(), raw)
	if err != nil {
		return token.Identity{}, errBad.Because(err)
	}
	if g.revoked.Revoked(id.UserID, id.Version) {
		return token.Identity{}, errBad
	}
	return id, nil
}

// Known returns the user of a request whose token was accepted within the last minute,
// 0 for any other. It is for refusals that must cost little: it is neither a check that
// the token is still valid, nor that its role suffices.
func (g *Guard) Known(r *http.Request) int64 {
	raw, err := bearer(r)
	if err != nil {
		return 0
	}
	id, _ := g.tokens.Known(raw)
	return id.UserID
}

// bearer reads the Authorization header (RFC 6750, section 2.1).
func bearer(r *http.Request) (string, error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		return "", errMissing
	}
	scheme, raw, _ := strings.Cut(headers[0], " ")
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return "", errMissing
	}
	return raw, nil
}

type key struct{}

// With returns a context that carries the caller's identity.
func With(ctx context.Context, id token.Identity) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// From returns the caller's identity. It panics on a route that the contract does
// not protect: the first request of any test shows that.
func From(ctx context.Context) token.Identity {
	return ctx.Value(key{}).(token.Identity)
}

// Lookup returns the caller's identity, and whether there is one: an open route
// has none.
func Lookup(ctx context.Context) (token.Identity, bool) {
	id, ok := ctx.Value(key{}).(token.Identity)
	return id, ok
}

// UserID returns the caller's user id, 0 on an open route.
func UserID(ctx context.Context) int64 {
	id, _ := Lookup(ctx)
	return id.UserID
}
