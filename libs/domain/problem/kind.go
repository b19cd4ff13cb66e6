package problem

// Kind classifies a problem. Adapters map it to their protocol's status:
// libs/service/httpproblem does so for HTTP.
type Kind int

// The kinds. The zero Kind is Internal: an error without a kind shows the client
// nothing.
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
	ClientGone // the client has disconnected: only our log and metrics show it
	BadGateway
	Unavailable
)
