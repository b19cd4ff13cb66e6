package access

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
	"lavka/libs/service/token"
)

var (
	errNoStatic      = problem.New(problem.NotFound, "not_found", "this route does not exist")
	errMissingStatic = problem.New(problem.Unauthenticated, "unauthenticated", "send the token that the operator has given you as: Authorization: Bearer <token>")
	errBadStatic     = problem.New(problem.Unauthenticated, "token_invalid", "this is not one of the tokens that the operator gives out for this route")
)

// Static returns the middleware of routes for a peer that has no user: it lets those pass
// who send one of the tokens, all of which are valid at the same time. The identity in
// the context has the role and no user. Without tokens the routes don't exist: 404.
func Static(role string, tokens []string) echo.MiddlewareFunc {
	hashes := make([][sha256.Size]byte, len(tokens))
	for i, t := range tokens {
		hashes[i] = sha256.Sum256([]byte(t))
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if len(hashes) == 0 {
				return errNoStatic
			}
			raw, err := bearer(c.Request())
			if err != nil {
				return errMissingStatic
			}
			given, match := sha256.Sum256([]byte(raw)), 0
			for _, hash := range hashes { // all of them, in constant time
				match |= subtle.ConstantTimeCompare(hash[:], given[:])
			}
			if match != 1 {
				return errBadStatic
			}
			c.SetRequest(c.Request().WithContext(With(c.Request().Context(), token.Identity{Role: role})))
			return next(c)
		}
	}
}
