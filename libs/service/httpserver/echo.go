// Package httpserver is the HTTP side that all services share: echo with
// strict bodies, bounded everything, problems for errors, one log line for
// each request, and an internal port.
package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpproblem"
)

// New makes an echo whose routes answer in problems and read strict JSON.
// X-Forwarded-For and traceparent count only when they come from a trusted proxy.
func New(log *slog.Logger, trusted []netip.Prefix, registry prometheus.Registerer) *echo.Echo {
	e := echo.New()
	e.HideBanner = true
	e.HidePort = true
	e.Binder = binder{}
	e.IPExtractor = clientAddress(trusted)
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if !c.Response().Committed {
			httpproblem.Write(c.Response(), c.Request(), translate(err, c))
		}
	}
	e.Use(sealed, traced(trusted), measured(registry), logged(log), recovered(log), admitted, limited, optionsOfHead, plainParameters, joined, bounded(MaxBody))
	return e
}

// ErrClientGone is the end of a request whose client has hung up: no fault of ours.
var ErrClientGone = problem.New(problem.ClientGone, "client_gone", "the client has gone")

// Gone is ErrClientGone where err says that a request was given up because its
// client has hung up; any other err stays as it is.
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
		return problem.New(problem.NotFound, "not_found", "there is no such route")
	case http.StatusMethodNotAllowed:
		headAllowed(c.Response().Header())
		return problem.New(problem.MethodNotAllowed, "method_not_allowed", "this route does not take that method; see Allow")
	case http.StatusBadRequest:
		// From the generated code: a parameter in the wrong form.
		return problem.New(problem.Malformed, "malformed", parameterText(he)).Because(err)
	case http.StatusRequestEntityTooLarge:
		return tooLargeProblem
	}
	return err
}

// parameterText says which parameter is wrong. The generated code's text begins
// with that; the reason after it is a library's and may repeat what was sent.
func parameterText(he *echo.HTTPError) string {
	text, _ := he.Message.(string)
	if name, ok := parameter(text, "Invalid format for parameter ", ":"); ok {
		return "the parameter " + name + " has the wrong form"
	}
	if name, ok := parameter(text, "Expected one value for ", ","); ok {
		return name + " must be there once"
	}
	return "a parameter has the wrong form"
}

func parameter(text, before, after string) (name string, ok bool) {
	rest, known := strings.CutPrefix(text, before)
	name, _, ends := strings.Cut(rest, after)
	return name, known && ends && !strings.ContainsAny(name, " \t") && len(name) <= 40
}

// clientAddress takes the right-most address that no trusted proxy added.
func clientAddress(trusted []netip.Prefix) echo.IPExtractor {
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		_, ipNet, err := net.ParseCIDR(p.Masked().String())
		if err == nil { // always: a valid Prefix prints as a CIDR
			options = append(options, echo.TrustIPRange(ipNet))
		}
	}
	return echo.ExtractIPFromXFFHeader(options...)
}
