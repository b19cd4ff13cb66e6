package httpapi

import (
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"lavka/libs/service/httpproblem"
	"lavka/libs/service/httpserver"
	"lavka/services/catalog/internal/catalog"
)

// Door refuses orders while the queue is full, or a user's share of it, before any
// other work is done for them: at twice the sustainable load, refusing would otherwise
// take most of the time that is left for placing. known returns the user of a request,
// 0 if only a check of its token can say. Refused orders are counted by full, and
// logged at most once a second.
func Door(next http.Handler, known func(*http.Request) int64, full func(user func() int64) bool, log *slog.Logger) http.Handler {
	// An order with a key may be a repeat of one that was placed.
	without, with := httpserver.NewRefusal(catalog.ErrOverloaded), httpserver.NewRefusal(httpproblem.WithRetry(catalog.ErrAskAgain))
	logged := rate.Sometimes{Interval: time.Second}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/purchases" || !full(func() int64 { return known(r) }) {
			next.ServeHTTP(w, r)
			return
		}
		logged.Do(func() {
			log.WarnContext(r.Context(), "orders arrive faster than they can be placed; refusing orders (counted in catalog_orders_refused_total)")
		})
		if r.Header.Get("Idempotency-Key") != "" {
			with.ServeHTTP(w, r)
			return
		}
		without.ServeHTTP(w, r)
	})
}
