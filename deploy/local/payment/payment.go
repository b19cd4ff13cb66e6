// Package payment builds what the payment provider sends, for tools and tests that play its part.
package payment

import (
	"crypto/sha1"
	"fmt"
	"net/http"
	"time"

	"lavka/libs/service/standardwebhooks"
)

// Signed returns the body of a POST /payment/webhook. The signature covers the numbers exactly
// as they are written in the body.
func Signed(key string, id, user, bill, amount any) []byte {
	sum := sha1.Sum(fmt.Appendf(nil, "%s:%v:%v:%v:%v", key, id, user, bill, amount))
	return fmt.Appendf(nil, `{"signature":"%x","transaction_id":%v,"user_id":%v,"bill_id":%v,"amount":%v}`, sum, id, user, bill, amount)
}

// SignedInHeader returns the body of a POST /payment/webhook, and the headers that sign it as Standard Webhooks says.
func SignedInHeader(key standardwebhooks.Key, id, user, bill, amount any) (http.Header, []byte) {
	body := fmt.Appendf(nil, `{"transaction_id":%v,"user_id":%v,"bill_id":%v,"amount":%v}`, id, user, bill, amount)
	header := http.Header{}
	key.Sign(header, fmt.Sprintf("payment_%v", id), time.Now(), body)
	return header, body
}

// SignedReversal returns the body of a POST /payment/reversals, and the headers that sign it.
func SignedReversal(key standardwebhooks.Key, id, payment, total any) (http.Header, []byte) {
	body := fmt.Appendf(nil, `{"reversal_id":%v,"transaction_id":%v,"reversed_total":%v}`, id, payment, total)
	header := http.Header{}
	key.Sign(header, fmt.Sprintf("reversal_%v", id), time.Now(), body)
	return header, body
}
