// Package wire defines the messages that the services exchange over NATS: flat,
// versioned JSON. Readers ignore unknown members, so a release may add members;
// a change of meaning requires a new version.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Version is the "v" of every message in this package that is not about refunds.
const Version = 1

// Subjects and streams. PURCHASES and the consumers belong to billing, USERS
// belongs to auth. Package libs/contract/streams holds their configuration.
const (
	StreamPurchases   = "PURCHASES"
	ConsumerPurchases = "billing"
	SubjectRequested  = "purchases.requested"
	SubjectAnswered   = "purchases.answered" // + "." + the requesting replica's id

	StreamUsers    = "USERS"
	ConsumerUsers  = "billing"
	SubjectChanged = "users.changed" // + "." + the user's id
)

// HeaderReply names the subject to which the answer to a purchase request is
// published. JetStream uses the message's own reply subject for acknowledgements.
const HeaderReply = "Lavka-Reply"

// HeaderReads is set on billing's answers and states what billing can read.
// Older releases of billing do not set it: send those one purchase per message.
const (
	HeaderReads = "Lavka-Reads"
	ReadsGroups = "groups"
)

// MaxGroup is the maximum number of purchases in one request message, and of
// answers in one answer message. One purchase is a JSON object; several are an
// array of such objects.
const MaxGroup = 64

// Outcomes of a purchase and reasons for a decline. A decline is an answer, not
// an error.
const (
	Settled  = "settled"
	Declined = "declined"

	InsufficientFunds = "insufficient_funds"
	BillNotFound      = "bill_not_found" // the bill does not exist, or is not the buyer's
	BuyerDisabled     = "buyer_disabled"
	Expired           = "expired"
)

// PurchaseRequested asks billing to charge a purchase. The purchase id is also
// the charge's id, so requests are idempotent: a retry gets the first answer.
type PurchaseRequested struct {
	V          int       `json:"v"`
	PurchaseID uuid.UUID `json:"purchase_id"`
	UserID     int64     `json:"user_id"`
	BillID     int64     `json:"bill_id"`
	Amount     int64     `json:"amount"` // minor units
	ExpiresAt  time.Time `json:"expires_at"`

	Traceparent string `json:"traceparent,omitempty"` // W3C; only in an array: a single one carries it in its headers
}

// PurchaseAnswered is billing's decision.
type PurchaseAnswered struct {
	V             int       `json:"v"`
	PurchaseID    uuid.UUID `json:"purchase_id"`
	Outcome       string    `json:"outcome"`
	Reason        string    `json:"reason,omitempty"`         // if declined
	Balance       *int64    `json:"balance,omitempty"`        // minor units, after the decision; if settled or insufficient_funds
	TransactionID *int64    `json:"transaction_id,omitempty"` // if settled

	Traceparent string `json:"traceparent,omitempty"` // W3C; only in an array: a single one carries it in its headers
}

// UserChanged is the complete public state of a user.
type UserChanged struct {
	V            int       `json:"v"`
	ID           int64     `json:"id"`
	Login        string    `json:"login"`
	Role         string    `json:"role"`
	Status       string    `json:"status"`
	Version      int64     `json:"version"`       // increases with every change; the highest is the newest
	TokenVersion int64     `json:"token_version"` // a token with a lower one is refused
	CreatedAt    time.Time `json:"created_at"`
	ChangedAt    time.Time `json:"changed_at,omitzero"` // zero if sent by an older release
}

// Encode returns a message as JSON.
func Encode(m any) ([]byte, error) { return json.Marshal(m) }

// EncodeGroup encodes messages of one kind as a single message: one as an
// object, several as an array. It does not check their number: the decoder
// rejects none, and more than MaxGroup.
func EncodeGroup[M any](group []M) ([]byte, error) {
	if len(group) == 1 {
		return json.Marshal(group[0])
	}
	return json.Marshal(group)
}

// DecodePurchaseRequested reads a request, or an array of up to MaxGroup, and
// returns an error for a request that billing can't act on.
func DecodePurchaseRequested(data []byte) ([]PurchaseRequested, error) {
	return decodeGroup("purchase request", data, PurchaseRequested.check)
}

func (m PurchaseRequested) check() error {
	switch {
	case m.V != Version:
		return fmt.Errorf("version %d is not %d", m.V, Version)
	case m.PurchaseID == uuid.Nil:
		return errors.New("no purchase_id")
	case m.UserID <= 0 || m.BillID <= 0 || m.Amount <= 0:
		return errors.New("user_id, bill_id and amount must be greater than zero")
	case m.ExpiresAt.IsZero():
		return errors.New("no expires_at")
	}
	return nil
}

// PurchaseID extracts the purchase id from a request that could not be decoded,
// and reports whether it has one.
func PurchaseID(data []byte) (uuid.UUID, bool) {
	var m struct {
		PurchaseID uuid.UUID `json:"purchase_id"`
	}
	// Unmarshal fills in the id even if another member is invalid.
	_ = json.Unmarshal(data, &m)
	return m.PurchaseID, m.PurchaseID != uuid.Nil
}

// DecodePurchaseAnswered reads billing's answer, or an array of up to MaxGroup.
func DecodePurchaseAnswered(data []byte) ([]PurchaseAnswered, error) {
	return decodeGroup("purchase answer", data, PurchaseAnswered.check)
}

func (m PurchaseAnswered) check() error {
	switch {
	case m.V != Version:
		return fmt.Errorf("version %d is not %d", m.V, Version)
	case m.PurchaseID == uuid.Nil:
		return errors.New("no purchase_id")
	case m.Outcome == Settled && m.TransactionID != nil:
		return nil
	case m.Outcome == Declined && knownReason(m.Reason):
		return nil
	}
	return fmt.Errorf("outcome %q with reason %q is not valid", m.Outcome, m.Reason)
}

// decodeGroup reads one message or an array of messages. If one fails its check,
// all are rejected: the sender then retries them one at a time.
func decodeGroup[M any](what string, data []byte, check func(M) error) ([]M, error) {
	group := make([]M, 1)
	var into any = &group[0]
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '[' {
		group, into = nil, &group
	}
	if err := json.Unmarshal(data, into); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if len(group) < 1 || len(group) > MaxGroup {
		return nil, fmt.Errorf("read %s: %d in one message, but 1 to %d are allowed", what, len(group), MaxGroup)
	}
	for _, m := range group {
		if err := check(m); err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
	}
	return group, nil
}

// DecodeUserChanged reads a user's state. A role that this release does not know is
// read as "user".
func DecodeUserChanged(data []byte) (UserChanged, error) {
	var m UserChanged
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("read user: %w", err)
	}
	if m.V != Version || m.ID <= 0 || m.Version <= 0 || m.TokenVersion <= 0 {
		return m, fmt.Errorf("read user: v %d, id %d, version %d, token_version %d: not a user's state", m.V, m.ID, m.Version, m.TokenVersion)
	}
	if !slices.Contains([]string{"inactive", "active", "disabled"}, m.Status) || strings.ContainsRune(m.Login, 0) {
		return m, fmt.Errorf("read user: status %q or the login of user %d is not valid", m.Status, m.ID)
	}
	if !slices.Contains([]string{"support", "admin"}, m.Role) {
		m.Role = "user"
	}
	return m, nil
}

// UserTokenVersion extracts the token version from a state that could not be decoded, and
// reports whether it has one: tokens are revoked even by a message whose other members
// this release can't read.
func UserTokenVersion(data []byte) (TokenVersion, bool) {
	var m struct {
		ID           int64 `json:"id"`
		TokenVersion int64 `json:"token_version"`
	}
	// Unmarshal fills in these members even if another is invalid.
	_ = json.Unmarshal(data, &m)
	return TokenVersion{UserID: m.ID, TokenVersion: m.TokenVersion}, m.ID > 0 && m.TokenVersion > 0
}

func knownReason(r string) bool {
	switch r {
	case InsufficientFunds, BillNotFound, BuyerDisabled, Expired:
		return true
	}
	return false
}
