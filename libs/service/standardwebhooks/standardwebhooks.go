// Package standardwebhooks signs and verifies requests as Standard Webhooks says
// (https://github.com/standard-webhooks/standard-webhooks), with symmetric keys only:
// the headers webhook-id, webhook-timestamp and webhook-signature, and HMAC-SHA256.
package standardwebhooks

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed request.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// MaxAge is how far a request's time may differ from the verifier's, in either
// direction.
const MaxAge = 5 * time.Minute

// A key has from minKey to maxKey bytes, as the specification recommends.
const (
	minKey = 24
	maxKey = 64
)

// maxID is the maximum length of a webhook-id, in bytes.
const maxID = 255

const (
	prefix  = "whsec_"
	version = "v1"
)

// The errors of [Verifier.Verify].
var (
	// ErrSignature means that no key has signed the request.
	ErrSignature = errors.New("the request has no signature by any of the keys")
	// ErrExpired means that a key has signed the request, but for another time.
	ErrExpired = errors.New("the request's time differs too much from the clock")
)

// Key is a secret that is shared with a peer. The secret itself can't be printed.
type Key struct{ mac func() hash.Hash }

// ParseKeys reads secrets separated by commas: the Base64 of 24 to 64 bytes, with or
// without "whsec_" before it. Space around a secret and empty entries are ignored. An
// error does not contain a secret.
func ParseKeys(text string) ([]Key, error) {
	var keys []Key
	n := 0
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		n++
		secret, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(strings.TrimPrefix(part, prefix), "="))
		if err != nil {
			return nil, fmt.Errorf("secret %d is not Base64, with or without %q before it", n, prefix)
		}
		if len(secret) < minKey || len(secret) > maxKey {
			return nil, fmt.Errorf("secret %d has %d bytes; it must have from %d to %d", n, len(secret), minKey, maxKey)
		}
		keys = append(keys, Key{func() hash.Hash { return hmac.New(sha256.New, secret) }})
	}
	return keys, nil
}

// Sign sets the headers that sign a body under an id at a time. Where h is signed
// with other keys already, for the same id and time, it adds a signature.
func (k Key) Sign(h http.Header, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	signature := version + "," + base64.StdEncoding.EncodeToString(k.sum(id, timestamp, body))
	if before := h.Get(HeaderSignature); before != "" {
		signature = before + " " + signature
	}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, timestamp)
	h.Set(HeaderSignature, signature)
}

func (k Key) sum(id, timestamp string, body []byte) []byte {
	mac := k.mac()
	mac.Write(bytes.Join([][]byte{[]byte(id), []byte(timestamp), body}, []byte(".")))
	return mac.Sum(nil)
}

// Signed reports whether a request has any webhook-* header, and so claims to be
// signed. Such a request must not be judged by another kind of signature.
func Signed(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(strings.ToLower(name), "webhook-") {
			return true
		}
	}
	return false
}

// Verifier verifies requests that any of its keys may have signed.
type Verifier struct {
	keys []Key
	now  func() time.Time
}

// New returns a Verifier. All keys are valid at the same time, so that a key can be
// replaced. Without keys, it refuses every request.
func New(keys []Key, now func() time.Time) *Verifier { return &Verifier{keys: keys, now: now} }

// Now returns the time with which a request's time is compared.
func (v *Verifier) Now() time.Time { return v.now() }

// Verify returns nil if one of the keys signed this body with this header, ErrExpired
// if one did, but for a time that is more than MaxAge away, and ErrSignature
// otherwise: age is looked at last. A request may have several signatures; one has to
// be right. How long Verify takes does not depend on which is, or on how much of a
// wrong one is right.
//
// Each header must be there once. A webhook-id is visible ASCII of at most 255 bytes
// without a full stop, since a full stop separates what is signed.
func (v *Verifier) Verify(h http.Header, body []byte) error {
	id, timestamp, signatures := only(h, HeaderID), only(h, HeaderTimestamp), only(h, HeaderSignature)
	at, ok := parseTime(timestamp)
	if !ok || !validID(id) {
		return ErrSignature
	}
	given := parseSignatures(signatures)
	match := false
	for _, key := range v.keys {
		want := key.sum(id, timestamp, body)
		for _, signature := range given {
			if hmac.Equal(signature, want) { // in constant time
				match = true
			}
		}
	}
	if !match {
		return ErrSignature
	}
	if age := v.now().Sub(at); age > MaxAge || age < -MaxAge {
		return ErrExpired
	}
	return nil
}

// only returns the value of a header that is there exactly once, or "".
func only(h http.Header, name string) string {
	if values := h.Values(name); len(values) == 1 {
		return values[0]
	}
	return ""
}

func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '.' {
			return false
		}
	}
	return true
}

// parseTime reads seconds since 1970, in one form only: digits, the first not 0.
func parseTime(text string) (time.Time, bool) {
	const longest = 11 // digits: the year 5138
	if len(text) > longest {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds <= 0 || strconv.FormatInt(seconds, 10) != text {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}

// parseSignatures returns the signatures of version v1. Those of other versions, and
// those that are not Base64 of the right length, are left out.
func parseSignatures(text string) [][]byte {
	var sums [][]byte
	for part := range strings.SplitSeq(text, " ") {
		v, encoded, found := strings.Cut(part, ",")
		if !found || v != version {
			continue
		}
		sum, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err == nil && len(sum) == sha256.Size {
			sums = append(sums, sum)
		}
	}
	return sums
}
