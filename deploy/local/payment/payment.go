// Package payment builds what the payment provider sends, for tools and tests that play its part.
package payment

import (
	"crypto/sha1"
	"fmt"
)

// Signed returns the body of a POST /payment/webhook. The signature covers the numbers exactly
// as they are written in the body.
func Signed(key string, id, user, bill, amount any) []byte {
	sum := sha1.Sum(fmt.Appendf(nil, "%s:%v:%v:%v:%v", key, id, user, bill, amount))
	return fmt.Appendf(nil, `{"signature":"%x","transaction_id":%v,"user_id":%v,"bill_id":%v,"amount":%v}`, sum, id, user, bill, amount)
}
