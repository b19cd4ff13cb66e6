// Package idempotency reads the header Idempotency-Key.
package idempotency

import (
	"strings"

	"lavka/libs/domain/problem"
)

const maxKey = 255

// Key reads the header: 1 to 255 printable ASCII characters, and "" if there is none.
// HTTP has already trimmed the spaces at both ends. Any other value is the problem
// "malformed".
func Key(header *string) (string, error) {
	if header == nil {
		return "", nil
	}
	unprintable := func(r rune) bool { return r < 0x20 || r > 0x7e }
	if key := *header; key != "" && len(key) <= maxKey && !strings.ContainsFunc(key, unprintable) {
		return key, nil
	}
	return "", problem.New(problem.Malformed, "malformed", "Idempotency-Key must be 1 to 255 printable ASCII characters")
}
