package httpapi

import (
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"lavka/libs/service/httpserver"
	"lavka/services/catalog/internal/catalog"
)

// Door refuses orders that come while the queue is full, before anything else is
// done for them: of twice as many as can be placed, refusing takes most of the
// time that is left for placing. They are counted, and told of in the log once a
// second.
func Door(next http.Handler, full func() bool, log *slog.Logger) http.Handler {
	// What came with a key may have bought before.
	without, with := httpserver.NewRefusal(catalog.ErrOverloaded), httpserver.NewRefusal(catalog.ErrAskAgain)
	told := rate.Sometimes{Interval: time.Second}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/purchases" || !full() {
			next.ServeHTTP(w, r)
			return
		}
		told.Do(func() {
			log.WarnContext(r.Context(), "more is ordered than can be placed; orders are refused (catalog_orders_refused_total counts them)")
		})
		if r.Header.Get("Idempotency-Key") != "" {
			with.ServeHTTP(w, r)
			return
		}
		without.ServeHTTP(w, r)
	})
}
