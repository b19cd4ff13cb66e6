// Package httpapi implements auth's HTTP contract: it decodes requests, calls the
// domain and encodes responses.
package httpapi

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpserver"
	"lavka/services/auth/api"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/keys"
)

// limit is the timeout of a request, most of which may be spent waiting for the
// database or for a turn to hash. It is below the 20 s that libs/service/httpserver
// gives every request.
const limit = 10 * time.Second

// Handlers answers the operations of the contract.
type Handlers struct {
	users         *auth.Users
	sessions      *auth.Sessions
	keys          *keys.Ring
	publicURL     string
	tokenLifetime time.Duration
	logins        *prometheus.CounterVec
}

var _ api.StrictServerInterface = (*Handlers)(nil)

// Config holds the dependencies and settings of Handlers.
type Config struct {
	Users         *auth.Users
	Sessions      *auth.Sessions
	Keys          *keys.Ring
	PublicURL     string        // the beginning of activation links
	TokenLifetime time.Duration // of access tokens
	Registry      prometheus.Registerer
}

// New returns Handlers and registers their metrics.
func New(cfg Config) *Handlers {
	logins := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "auth_logins_total",
		Help: "Logins by outcome: ok, or the code of the refusal.",
	}, []string{"outcome"})
	for _, outcome := range []string{"ok", "invalid_credentials", "user_inactive", "user_disabled", "too_many_attempts", "overloaded", "unavailable", "client_gone", "internal"} {
		logins.WithLabelValues(outcome) // starts at 0, so that rate() sees the first login
	}
	cfg.Registry.MustRegister(logins)
	return &Handlers{
		users: cfg.Users, sessions: cfg.Sessions, keys: cfg.Keys,
		publicURL: strings.TrimSuffix(cfg.PublicURL, "/"), tokenLifetime: cfg.TokenLifetime, logins: logins,
	}
}

// Register adds the contract's routes to e. protected holds the middleware of the
// operations that require a token.
func Register(e *echo.Echo, h *Handlers, protected map[string][]echo.MiddlewareFunc) {
	e.Use(bounded)
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
