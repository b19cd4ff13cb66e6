package httpapi

import (
	"crypto/sha1"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"lavka/libs/domain/problem"
	"lavka/libs/service/standardwebhooks"
)

var (
	errSignature   = problem.New(problem.Forbidden, "invalid_signature", "the signature does not match; check the key, and that the signed values are written exactly as in the body")
	errSignatureV2 = problem.New(problem.Forbidden, "invalid_signature", "no signature in webhook-signature matches; check the secret, and that id, time and body are sent exactly as they were signed. With any webhook-* header, a signature in the body counts for nothing")
)

// The versions of signatures.
const (
	legacy = "legacy" // a SHA-1 of the values, in the body
	v2     = "v2"     // Standard Webhooks: an HMAC of id, time and body, in the header
)

// Signatures are the provider's signatures that are accepted.
type Signatures struct {
	Legacy []string                   // keys; without any, no signature in a body is accepted
	V2     *standardwebhooks.Verifier // without keys, no signature in a header is accepted
}

// versionOf returns the only version that may judge a request. One with any webhook-*
// header is v2, whatever else it has: removing or damaging that signature must not lead
// to a weaker check.
func versionOf(h http.Header) string {
	if standardwebhooks.Signed(h) {
		return v2
	}
	return legacy
}

// judge returns the problem "invalid_signature" unless one of the keys has signed the call. It reports
// whether the signature is right but too old, or from the future.
func (s Signatures) judge(h http.Header, body []byte, call webhookCall) (expired bool, err error) {
	if versionOf(h) == legacy {
		if !call.signedBy(s.Legacy) {
			return false, errSignature
		}
		return false, nil
	}
	err = s.V2.Verify(h, body)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, standardwebhooks.ErrExpired):
		return true, nil
	}
	return false, errSignatureV2.Because(err)
}

// signedBy reports whether the call was signed with any of the keys. It checks
// every key, in constant time.
func (c webhookCall) signedBy(keys []string) bool {
	match := 0
	for _, key := range keys {
		text := strings.Join([]string{key, c.text.transactionID, c.text.userID, c.text.billID, c.text.amount}, ":")
		want := sha1.Sum([]byte(text))
		match |= subtle.ConstantTimeCompare(want[:], c.signature[:])
	}
	return match == 1
}
