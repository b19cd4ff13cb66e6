// Package payment is what the payment provider sends, for tools and tests that play it.
package payment

import (
	"crypto/sha1"
	"fmt"
)

// Signed is the body of a call of POST /payment/webhook. What is signed are the texts of
// its numbers, just as they are sent.
func Signed(key string, id, user, bill, amount any) []byte {
	sum := sha1.Sum(fmt.Appendf(nil, "%s:%v:%v:%v:%v", key, id, user, bill, amount))
	return fmt.Appendf(nil, `{"signature":"%x","transaction_id":%v,"user_id":%v,"bill_id":%v,"amount":%v}`, sum, id, user, bill, amount)
}
