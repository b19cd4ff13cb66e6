package wire

import (
	"encoding/json"
	"fmt"
)

// SubjectRevocations is the subject on which auth answers requests for recent
// revocations. A replica sends one when it starts, because the stream may lag
// behind auth's database or may have been lost.
const SubjectRevocations = "users.revocations"

// RevocationsRequest asks auth for the users whose token versions were raised
// within a token's lifetime. The answer comes in pages.
type RevocationsRequest struct {
	V     int   `json:"v"`
	After int64 `json:"after"` // the last user id of the previous page; 0 for the first page
}

// RevocationsPage is one page of the answer, ordered by user id.
type RevocationsPage struct {
	V        int            `json:"v"`
	Versions []TokenVersion `json:"versions"`
	More     bool           `json:"more"` // whether another page follows
}

// TokenVersion is a user's token version: tokens with a lower version are
// refused.
type TokenVersion struct {
	UserID       int64 `json:"user_id"`
	TokenVersion int64 `json:"token_version"`
}

// DecodeRevocationsRequest reads a request for revocations.
func DecodeRevocationsRequest(data []byte) (RevocationsRequest, error) {
	var m RevocationsRequest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read revocations request: %w", err)
	}
	if m.V != Version || m.After < 0 {
		return m, fmt.Errorf("read revocations request: v %d, after %d: not a valid request", m.V, m.After)
	}
	return m, nil
}

// DecodeRevocationsPage reads the page requested with this After. It returns an
// error unless the page's user ids increase from there and every page but the
// last has users, so that a client that requests page after page comes to an end.
func DecodeRevocationsPage(data []byte, after int64) (RevocationsPage, error) {
	var m RevocationsPage
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read revocations: %w", err)
	}
	if m.V != Version || m.Versions == nil || m.More && len(m.Versions) == 0 {
		return m, fmt.Errorf("read revocations: v %d, %d users, more: %v: not a valid page", m.V, len(m.Versions), m.More)
	}
	for _, one := range m.Versions {
		if one.UserID <= after || one.TokenVersion <= 0 {
			return m, fmt.Errorf("read revocations: user %d with token version %d after user %d", one.UserID, one.TokenVersion, after)
		}
		after = one.UserID
	}
	return m, nil
}
