// Package httpapi is auth's HTTP side: it decodes, calls the domain, encodes.
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

// limit bounds a request that waits for the database or for its turn to hash,
// below the 20 s that any request gets (libs/service/httpserver).
const limit = 10 * time.Second

// Handlers answers the contract's operations.
type Handlers struct {
	users         *auth.Users
	sessions      *auth.Sessions
	keys          *keys.Ring
	publicURL     string
	tokenLifetime time.Duration
	logins        *prometheus.CounterVec
}

// Config is what Handlers need.
type Config struct {
	Users         *auth.Users
	Sessions      *auth.Sessions
	Keys          *keys.Ring
	PublicURL     string // without a slash at its end
	TokenLifetime time.Duration
	Registry      prometheus.Registerer
}

// New makes Handlers.
func New(cfg Config) *Handlers {
	logins := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "auth_logins_total",
		Help: "Logins by outcome: ok, or the code of the refusal.",
	}, []string{"outcome"})
	for _, outcome := range []string{"ok", "invalid_credentials", "user_inactive", "user_disabled", "too_many_attempts", "overloaded", "unavailable", "client_gone", "internal"} {
		logins.WithLabelValues(outcome) // a rate needs a zero to begin from
	}
	cfg.Registry.MustRegister(logins)
	return &Handlers{
		users: cfg.Users, sessions: cfg.Sessions, keys: cfg.Keys,
		publicURL: strings.TrimSuffix(cfg.PublicURL, "/"), tokenLifetime: cfg.TokenLifetime, logins: logins,
	}
}

// Register adds the contract's routes; protected holds the middleware of the
// operations that need a token.
func Register(e *echo.Echo, h *Handlers, protected map[string][]echo.MiddlewareFunc) {
	e.Use(bounded)
	strict := api.NewStrictHandler(h, []api.StrictMiddlewareFunc{withClient})
	api.RegisterHandlersWithOptions(e, strict, api.RegisterHandlersOptions{OperationMiddlewares: protected})
}

func bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), limit)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return ended(ctx, next(c))
	}
}

// ended says why a request failed that was cut short: its client has gone, or it
// ran out of time.
func ended(ctx context.Context, err error) error {
	err = httpserver.Gone(ctx, err)
	var p *problem.Error
	if err == nil || ctx.Err() == nil || errors.As(err, &p) {
		return err
	}
	return auth.ErrOverloaded.Because(err)
}

type clientKey struct{}

// withClient hands the client's address on to the handlers.
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

// required refuses members that are missing or empty.
func required(members ...string) error {
	var fields []problem.Field
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == "" {
			fields = append(fields, problem.Field{Field: members[i], Message: "is required"})
		}
	}
	if fields == nil {
		return nil
	}
	return problem.InvalidFields(fields...)
}

func toUser(u auth.User) api.User {
	return api.User{Id: u.ID, Login: u.Login, Role: api.UserRole(u.Role), Status: api.UserStatus(u.Status()), CreatedAt: u.CreatedAt.UTC()}
}
