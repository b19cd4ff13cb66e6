package httpserver

import (
	"fmt"
	"net/http"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
)

// LoadContract reads a service's OpenAPI contract.
func LoadContract(text []byte) (*openapi3.T, error) {
	contract, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("read contract: %w", err)
	}
	return contract, nil
}

// ServeContract serves the contract at /<service>/openapi.json.
func ServeContract(e *echo.Echo, service string, contract *openapi3.T) error {
	text, err := contract.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write contract: %w", err)
	}
	e.GET("/"+service+"/openapi.json", func(c echo.Context) error {
		return c.JSONBlob(http.StatusOK, text)
	})
	return nil
}
