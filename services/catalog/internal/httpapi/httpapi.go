// Package httpapi serves the catalog's contract: it decodes, calls the domain,
// and encodes.
package httpapi

import (
	"errors"

	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/catalog"
)

// Handlers answers the contract's operations.
type Handlers struct {
	products  *catalog.Products
	purchases *catalog.Purchases
}

var _ api.StrictServerInterface = (*Handlers)(nil)

// New makes Handlers.
func New(products *catalog.Products, purchases *catalog.Purchases) *Handlers {
	return &Handlers{products, purchases}
}

// Register adds the contract's routes; protected holds the middleware of the
// operations that need a token.
func Register(e *echo.Echo, h *Handlers, protected map[string][]echo.MiddlewareFunc) {
	strict := api.NewStrictHandler(h, []api.StrictMiddlewareFunc{markReplays, keepable})
	api.RegisterHandlersWithOptions(e, strict, api.RegisterHandlersOptions{OperationMiddlewares: protected})
}

// member is one of a body, and whether it is there.
type member struct {
	name  string
	there bool
}

// required refuses a body that lacks members.
func required(members ...member) error {
	var fields []problem.Field
	for _, m := range members {
		if !m.there {
			fields = append(fields, problem.Field{Field: m.name, Message: "is required"})
		}
	}
	if fields == nil {
		return nil
	}
	return problem.InvalidFields(fields...)
}

// replayed is a refusal that was given before under the same Idempotency-Key.
type replayed struct{ error }

func (r replayed) Unwrap() error { return r.error }

// markReplays says so in a header, which a problem has no other place for.
func markReplays(next api.StrictHandlerFunc, _ string) api.StrictHandlerFunc {
	return func(c echo.Context, request any) (any, error) {
		response, err := next(c, request)
		var again replayed
		if errors.As(err, &again) {
			c.Response().Header().Set("Idempotent-Replayed", "true")
		}
		return response, err
	}
}

// keepable lets a client keep the products that he has read, if he asks each
// time whether they are still the same.
func keepable(next api.StrictHandlerFunc, operation string) api.StrictHandlerFunc {
	if operation != "ListProducts" && operation != "GetProduct" {
		return next
	}
	return func(c echo.Context, request any) (any, error) {
		c.Response().Header().Set("Cache-Control", "private, no-cache")
		return next(c, request)
	}
}
