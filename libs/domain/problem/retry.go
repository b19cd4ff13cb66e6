package problem

import "maps"

// Retry says what becomes of the Idempotency-Key of a request that was refused.
type Retry string

// What a client may do next.
const (
	SameKey Retry = "same_key" // repeat the request with its key: it takes effect at most once
	NewKey  Retry = "new_key"  // the key is used up: what it stands for is decided. Another attempt needs a new key
	Never   Retry = "never"    // the request as it is will be refused again. The key is not used up
)

// retries has each code that a request with an Idempotency-Key may get. A test compares
// it with the contracts and with docs/errors.md.
var retries = map[string]Retry{
	// Nothing is decided, or it is not known.
	"starting": SameKey, "overloaded": SameKey, "unavailable": SameKey, "outcome_unknown": SameKey, "internal": SameKey, "not_open_yet": SameKey,
	"too_many_connections": SameKey, "service_unavailable": SameKey, "bad_gateway": SameKey,
	"too_many_declines": SameKey, "pending_limit": SameKey, "out_of_stock": SameKey, "purchase_not_completed": SameKey,
	// Another access token is needed, not another key.
	"unauthenticated": SameKey, "token_invalid": SameKey,

	// A decline is stored with its key.
	"insufficient_funds": NewKey, "bill_not_found": NewKey, "user_disabled": NewKey, "purchase_expired": NewKey,
	"charge_not_found": NewKey, "bill_owes": NewKey, "balance_limit": NewKey,
	"idempotency_key_reused": NewKey,

	// The request has to change.
	"malformed": Never, "validation_failed": Never, "invalid_amount": Never, "body_too_large": Never, "unsupported_media_type": Never,
	"method_not_allowed": Never, "forbidden": Never, "product_not_found": Never, "purchase_not_found": Never, "price_changed": Never,
	"refund_exceeds": Never, "restock_exceeds": Never, "stock_out_of_range": Never, "too_many_refunds": Never, "too_many_bills": Never, "sku_taken": Never,
	"user_not_found": Never,
}

// decided names the members that say which stored decision a problem is.
var decided = map[string]string{"refund_exceeds": "refund_id"}

// RetryWithKey returns what a client may do next that has sent an Idempotency-Key.
func (e *Error) RetryWithKey() Retry {
	if member, ok := decided[e.Code]; ok && e.Extra[member] != nil {
		return NewKey
	}
	if retry, ok := retries[e.Code]; ok {
		return retry
	}
	return SameKey // a key makes each retry safe
}

// Retries returns the codes of which it is known what becomes of an Idempotency-Key.
func Retries() map[string]Retry { return maps.Clone(retries) }
