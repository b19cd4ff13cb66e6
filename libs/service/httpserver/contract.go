package httpserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/access"
)

// API is the public side of a service.
type API struct {
	Service        string         // its name
	Contract       []byte         // OpenAPI, YAML
	Guard          *access.Guard  // checks tokens
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and traceparent count
	Registry       prometheus.Registerer
	Log            *slog.Logger
}

// NewAPI returns an echo (see [New]) that serves the contract at
// /<service>/openapi.json, and the middleware of the operations that need a
// token, by operation id (see [access.Guard.Protect]). It fails if the contract
// can't be read or names an unknown role.
func NewAPI(a API) (e *echo.Echo, protected map[string][]echo.MiddlewareFunc, err error) {
	contract, err := openapi3.NewLoader().LoadFromData(a.Contract)
	if err != nil {
		return nil, nil, fmt.Errorf("read contract: %w", err)
	}
	text, err := contract.MarshalJSON()
	if err != nil {
		return nil, nil, fmt.Errorf("write contract: %w", err)
	}
	protected, err = a.Guard.Protect(contract)
	if err != nil {
		return nil, nil, err
	}
	e = New(a.Log, a.TrustedProxies, a.Registry)
	e.GET("/"+a.Service+"/openapi.json", func(c echo.Context) error { return c.JSONBlob(http.StatusOK, text) })
	return e, protected, nil
}
