// Package httpserver is the HTTP side that all services share: echo with
// strict bodies, bounded everything, problems for errors, one log line for
// each request, and an internal port.
package httpserver

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/problem"
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
			problem.Write(c.Response(), c.Request(), translate(err, c))
		}
	}
	e.Use(sealed, traced(trusted), measured(registry), logged(log), recovered(log), admitted, limited, plainParameters, bounded(MaxBody))
	return e
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
		allow := c.Response().Header()
		if list := allow.Get("Allow"); strings.Contains(list, "GET") && !strings.Contains(list, "HEAD") {
			allow.Set("Allow", list+", HEAD")
		}
		return problem.New(problem.MethodNotAllowed, "method_not_allowed", "this route does not take that method; see Allow")
	case http.StatusBadRequest:
		// From the generated code: a parameter in the wrong form.
		return problem.New(problem.Malformed, "malformed", parameterText(he)).Because(err)
	case http.StatusRequestEntityTooLarge:
		return tooLargeProblem
	}
	return err
}

func parameterText(he *echo.HTTPError) string {
	text, ok := he.Message.(string)
	if !ok {
		return "a parameter has the wrong form"
	}
	// "Invalid format for parameter id: <reason>": the name helps, the reason
	// is a library's and may repeat what was sent.
	name, _, _ := strings.Cut(strings.TrimPrefix(text, "Invalid format for parameter "), ":")
	if strings.ContainsAny(name, " \t") || len(name) > 40 {
		return "a parameter has the wrong form"
	}
	return "the parameter " + name + " has the wrong form"
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
