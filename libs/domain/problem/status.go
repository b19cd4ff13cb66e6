package problem

import "net/http"

// Kind says what sort of answer an error is.
type Kind int

// The kinds. The zero Kind is Internal: an error without one shows nothing.
const (
	Internal Kind = iota
	Malformed
	Unauthenticated
	PaymentRequired
	Forbidden
	NotFound
	MethodNotAllowed
	Conflict
	Gone
	PreconditionFailed
	TooLarge
	UnsupportedMediaType
	Invalid
	TooMany
	ClientGone // nobody hears it; it tells our own log and metrics
	BadGateway
	Unavailable
)

var statuses = map[Kind]int{
	Internal:             http.StatusInternalServerError,
	Malformed:            http.StatusBadRequest,
	Unauthenticated:      http.StatusUnauthorized,
	PaymentRequired:      http.StatusPaymentRequired,
	Forbidden:            http.StatusForbidden,
	NotFound:             http.StatusNotFound,
	MethodNotAllowed:     http.StatusMethodNotAllowed,
	Conflict:             http.StatusConflict,
	Gone:                 http.StatusGone,
	PreconditionFailed:   http.StatusPreconditionFailed,
	TooLarge:             http.StatusRequestEntityTooLarge,
	UnsupportedMediaType: http.StatusUnsupportedMediaType,
	Invalid:              http.StatusUnprocessableEntity,
	TooMany:              http.StatusTooManyRequests,
	ClientGone:           499, // nginx's number for it; RFC 9110 has none
	BadGateway:           http.StatusBadGateway,
	Unavailable:          http.StatusServiceUnavailable,
}

// Status is the HTTP status of a kind (RFC 9110, section 15).
func (k Kind) Status() int {
	if s, ok := statuses[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}
