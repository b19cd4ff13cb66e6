// Package httpapi implements catalog's HTTP contract: it decodes requests, calls
// the domain and encodes responses.
package httpapi

import (
	"errors"

	"github.com/labstack/echo/v4"

	"lavka/libs/service/adminlog"
	"lavka/libs/service/export"
	"lavka/services/catalog/api"
	"lavka/services/catalog/internal/catalog"
)

// Handlers answers the operations of the contract.
type Handlers struct {
	products  *catalog.Products
	purchases *catalog.Purchases
	refunds   *catalog.Refunds
	log       adminlog.Lister
	exports   *export.Exporter
}

var _ api.StrictServerInterface = (*Handlers)(nil)

// New returns the Handlers of a shop's products, purchases and refunds, and of the admins' log.
func New(products *catalog.Products, purchases *catalog.Purchases, refunds *catalog.Refunds, log adminlog.Lister, exports *export.Exporter) *Handlers {
	return &Handlers{products, purchases, refunds, log, exports}
}

// Register adds the contract's routes to e. protected holds the middleware of the
// operations that require a token.
func Register(e *echo.Echo, h *Handlers, protected map[string][]echo.MiddlewareFunc) {
	strict := api.NewStrictHandler(h, []api.StrictMiddlewareFunc{markReplays, cacheable})
	api.RegisterHandlersWithOptions(e, strict, api.RegisterHandlersOptions{OperationMiddlewares: protected})
}

// replayed is a refusal that was returned before for the same Idempotency-Key.
type replayed struct{ error }

func (r replayed) Unwrap() error { return r.error }

// markReplays sets the header Idempotent-Replayed on replayed refusals. Successful
// responses set it themselves.
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

// Public are the operations that need no token in a public shop.
var Public = []string{"listProducts", "getProduct", "getProductBySku"}

// cacheable lets a client cache products, provided that it revalidates them
// before each use.
func cacheable(next api.StrictHandlerFunc, operation string) api.StrictHandlerFunc {
	if operation != "ListProducts" && operation != "GetProduct" && operation != "GetProductBySku" {
		return next
	}
	return func(c echo.Context, request any) (any, error) {
		c.Response().Header().Set("Cache-Control", "private, no-cache")
		return next(c, request)
	}
}
