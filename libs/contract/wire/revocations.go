package wire

import (
	"encoding/json"
	"fmt"
)

// SubjectRevocations is where auth answers a replica that has just started: the
// stream may be behind the database then, or have been lost.
const SubjectRevocations = "users.revocations"

// RevocationsAsked asks auth whose token versions were raised within a token's
// lifetime. The answer comes in pages.
type RevocationsAsked struct {
	V     int   `json:"v"`
	After int64 `json:"after"` // the last user id of the page before; 0 for the first
}

// RevocationsTold is a page of them, in the order of user ids.
type RevocationsTold struct {
	V        int            `json:"v"`
	Versions []TokenVersion `json:"versions"`
	More     bool           `json:"more"` // after the last of these
}

// TokenVersion is a user's: a token with a lower one is refused.
type TokenVersion struct {
	UserID       int64 `json:"user_id"`
	TokenVersion int64 `json:"token_version"`
}

// DecodeRevocationsAsked reads a question.
func DecodeRevocationsAsked(data []byte) (RevocationsAsked, error) {
	var m RevocationsAsked
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read question for revocations: %w", err)
	}
	if m.V != Version || m.After < 0 {
		return m, fmt.Errorf("read question for revocations: v %d, after %d: not one", m.V, m.After)
	}
	return m, nil
}

// DecodeRevocationsTold reads a page that was asked for with that After. A page
// leads on: whoever asks for the next after it comes to an end.
func DecodeRevocationsTold(data []byte, after int64) (RevocationsTold, error) {
	var m RevocationsTold
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read revocations: %w", err)
	}
	if m.V != Version || m.Versions == nil || m.More && len(m.Versions) == 0 {
		return m, fmt.Errorf("read revocations: v %d, %d users, more: %v: not a page", m.V, len(m.Versions), m.More)
	}
	for _, one := range m.Versions {
		if one.UserID <= after || one.TokenVersion <= 0 {
			return m, fmt.Errorf("read revocations: user %d with token version %d after user %d", one.UserID, one.TokenVersion, after)
		}
		after = one.UserID
	}
	return m, nil
}
