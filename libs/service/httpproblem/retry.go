package httpproblem

import (
	"net/http"
	"regexp"

	"lavka/libs/domain/problem"
)

// takesKey matches the paths of the operations with an Idempotency-Key, all of them
// POST. A test compares it with the contracts.
var takesKey = regexp.MustCompile(`^/(purchases|purchases/[^/]+/refunds|products|products/[^/]+/stock|bills)$`)

// TakesKey reports whether an operation takes an Idempotency-Key. It is known here, so
// that whatever refuses a request says what becomes of its key: a handler, the check of
// tokens, or a gateway.
func TakesKey(method, path string) bool {
	return method == http.MethodPost && takesKey.MatchString(path)
}

// WithRetry returns a problem with the member retry, which tells a client that sent a
// key what it may do next.
func WithRetry(p *problem.Error) *problem.Error { return p.With("retry", p.RetryWithKey()) }
