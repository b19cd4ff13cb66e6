// Package httpapi implements auth's HTTP contract: it decodes requests, calls the
// domain and encodes responses.
package httpapi

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
	"lavka/libs/service/access"
	"lavka/libs/service/adminlog"
	"lavka/libs/service/httpserver"
	"lavka/services/auth/api"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/keys"
	"lavka/services/auth/internal/metrics"
)

// limit is the timeout of a request, most of which may be spent waiting for the
// database or for a turn to hash. It is below the 20 s that libs/service/httpserver
// gives every request.
const limit = 10 * time.Second

// Handlers answers the operations of the contract.
type Handlers struct{ Config }

var _ api.StrictServerInterface = (*Handlers)(nil)

// Config holds the dependencies and settings of Handlers.
type Config struct {
	Users         *auth.Users
	Sessions      *auth.Sessions
	Resets        *auth.Resets
	Keys          *keys.Ring
	Log           adminlog.Lister
	Links         auth.Links
	TokenLifetime time.Duration // of access tokens
	Metrics       *metrics.Metrics
}

// New returns Handlers.
func New(cfg Config) *Handlers { return &Handlers{cfg} }

// Register adds the contract's routes to e. protected holds the middleware of the
// operations that require a token; after it, they check the token by the user's row.
func Register(e *echo.Echo, h *Handlers, protected map[string][]echo.MiddlewareFunc) {
	e.Use(bounded)
	for operation, checks := range protected {
		protected[operation] = append(checks, h.byTheRow)
	}
	strict := api.NewStrictHandler(h, []api.StrictMiddlewareFunc{withClient})
	api.RegisterHandlersWithOptions(e, strict, api.RegisterHandlersOptions{OperationMiddlewares: protected})
}

// bounded sets the timeout of a request.
func bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), limit)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return ended(ctx, next(c))
	}
}

// ended returns the error of a request that was cut short: client_gone if its client
// disconnected, overloaded if its timeout expired. It returns any other error
// unchanged.
func ended(ctx context.Context, err error) error {
	err = httpserver.Gone(ctx, err)
	var p *problem.Error
	if err == nil || ctx.Err() == nil || errors.As(err, &p) {
		return err
	}
	return auth.ErrOverloaded.Because(err)
}

// byTheRow refuses a token that was revoked in the database, of which the message may
// not have arrived yet. What a request writes is decided again in its transaction: see
// [auth.User.MayAct].
func (h *Handlers) byTheRow(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		user, err := h.Users.CheckToken(ctx, caller(ctx))
		if err != nil {
			return err
		}
		c.SetRequest(c.Request().WithContext(context.WithValue(ctx, userKey{}, user)))
		return next(c)
	}
}

type userKey struct{}

// user returns the caller's row, which [Handlers.byTheRow] has read.
func user(ctx context.Context) auth.User { return ctx.Value(userKey{}).(auth.User) }

// caller returns who calls a route that requires a token.
func caller(ctx context.Context) auth.Caller {
	id := access.From(ctx)
	session, err := uuid.Parse(id.Session)
	if err != nil { // there is none
		session = uuid.Nil
	}
	return auth.Caller{UserID: id.UserID, TokenVersion: id.Version, Session: session}
}

type clientKey struct{}

// withClient passes the client's address to the handlers in the context.
func withClient(next api.StrictHandlerFunc, _ string) api.StrictHandlerFunc {
	return func(c echo.Context, request any) (any, error) {
		ctx := context.WithValue(c.Request().Context(), clientKey{}, c.RealIP())
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c, request)
	}
}

func client(ctx context.Context) string {
	address, _ := ctx.Value(clientKey{}).(string)
	return address
}

// requireCredentials returns a problem unless the body has a login and a password.
func requireCredentials(login, password string) error {
	return problem.Require(problem.Member{Name: "login", Present: login != ""}, problem.Member{Name: "password", Present: password != ""})
}
