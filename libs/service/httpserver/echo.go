// Package httpserver is the HTTP server that all services share: echo with strict
// bodies, limits on everything, errors as problems, one log line per request, and
// an internal port for probes and metrics.
package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/httpproblem"
	"lavka/libs/service/proxies"
)

// New returns an echo whose routes read strict JSON and answer errors as problems.
// X-Forwarded-For and traceparent count only if a trusted proxy sent them.
func New(log *slog.Logger, trusted []netip.Prefix, registry prometheus.Registerer) *echo.Echo {
	return withLimits(log, trusted, registry, nil, nil)
}

// withLimits is New for an API with these exports (see [limited]) and these limits of
// bodies (see [bounded]).
func withLimits(log *slog.Logger, trusted []netip.Prefix, registry prometheus.Registerer, exports map[string]bool, larger map[string]int64) *echo.Echo {
	e := echo.New()
	e.HideBanner = true
	e.HidePort = true
	e.Binder = binder{}
	e.IPExtractor = func(r *http.Request) string {
		client, _ := proxies.Trusted(trusted).Client(r) // forwarded reports the error, once a request
		return client
	}
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if !c.Response().Committed {
			httpproblem.Write(c.Response(), c.Request(), translate(err, c))
		}
	}
	bodies := bytelimit.New(maxBodies)
	measureHeld(registry, "bodies", bodies)
	e.Use(sealed, traced(trusted), measured(registry), forwarded(trusted, registry, log), logged(log), recovered(log), admitted, limited(exports), optionsOfHead, plainParameters, joined, bounded(larger, bodies))
	return e
}

// ErrClientGone is the outcome of a request whose client disconnected before the
// answer.
var ErrClientGone = problem.New(problem.ClientGone, "client_gone", "the client has disconnected")

// Gone returns ErrClientGone if err says that a request was cancelled because its
// client disconnected. It returns any other err as it is.
func Gone(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrClientGone) {
		return err
	}
	return ErrClientGone.Because(err)
}

// translate turns echo's own errors into problems.
func translate(err error, c echo.Context) error {
	var p *problem.Error
	if errors.As(err, &p) {
		return p
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return tooLargeProblem
	}
	var he *echo.HTTPError
	if !errors.As(err, &he) {
		return err
	}
	switch he.Code {
	case http.StatusNotFound:
		return problem.New(problem.NotFound, "not_found", "this route does not exist")
	case http.StatusMethodNotAllowed:
		headAllowed(c.Response().Header())
		return problem.New(problem.MethodNotAllowed, "method_not_allowed", "this route does not support this method; see the Allow header")
	case http.StatusBadRequest:
		// From the generated code: a malformed parameter.
		return problem.New(problem.Malformed, "malformed", parameterText(he)).Because(err)
	case http.StatusRequestEntityTooLarge:
		return tooLargeProblem
	}
	return err
}

// parameterText says which parameter is malformed. The generated code's text begins
// with its name; the reason after it comes from a library and may repeat the value.
func parameterText(he *echo.HTTPError) string {
	text, _ := he.Message.(string)
	if name, ok := parameter(text, "Invalid format for parameter ", ":"); ok {
		if strings.HasSuffix(text, "query parameter '"+name+"' is required") {
			return "the parameter " + name + " is required"
		}
		return "the parameter " + name + " is malformed"
	}
	if name, ok := parameter(text, "Expected one value for ", ","); ok {
		return name + " must be given exactly once"
	}
	return "a parameter is malformed"
}

func parameter(text, before, after string) (name string, ok bool) {
	rest, known := strings.CutPrefix(text, before)
	name, _, ends := strings.Cut(rest, after)
	return name, known && ends && !strings.ContainsAny(name, " \t") && len(name) <= 40
}
