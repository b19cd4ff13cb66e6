package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// VersionRefund is the "v" of the messages about refunds. They are sent on the
// subjects of purchases, but never in one message with them. A release that does
// not know refunds refuses the version; and a request has none of the names of a
// purchase's members, so that nothing in it could be charged.
const VersionRefund = 2

// The outcome of a refund that was credited, and the reasons for a decline.
const (
	Refunded = "refunded"

	RefundExceeds  = "refund_exceeds"   // more than is left of the charge
	BalanceLimit   = "balance_limit"    // the bill could not hold it
	ChargeNotFound = "charge_not_found" // no such purchase was charged to this bill
	BillOwes       = "bill_owes"        // a reversal on the bill has left a shortfall
)

// RefundRequested asks billing to give back money of a purchase. The refund id is
// also the credit's id, so requests are idempotent: a retry gets the first answer.
type RefundRequested struct {
	V          int       `json:"v"`
	RefundID   uuid.UUID `json:"refund_id"`
	OfPurchase uuid.UUID `json:"of_purchase"`
	Payer      int64     `json:"payer"` // who bought
	Bill       int64     `json:"bill"`  // that the purchase was charged to
	Minor      int64     `json:"minor"` // minor units
	Force      bool      `json:"force"` // also to a bill on which a reversal has left a shortfall

	Traceparent string `json:"traceparent,omitempty"` // W3C; only in an array: a single one carries it in its headers
}

// RefundAnswered is billing's decision.
type RefundAnswered struct {
	V             int       `json:"v"`
	RefundID      uuid.UUID `json:"refund_id"`
	Outcome       string    `json:"outcome"`
	Reason        string    `json:"reason,omitempty"`         // if declined
	Refundable    *int64    `json:"refundable,omitempty"`     // minor units, left of the charge; if declined as refund_exceeds
	TransactionID *int64    `json:"transaction_id,omitempty"` // if refunded

	Traceparent string `json:"traceparent,omitempty"` // W3C; only in an array: a single one carries it in its headers
}

// AboutRefunds reports whether a message has the version of refunds. It does not
// check the rest.
func AboutRefunds(data []byte) bool {
	var first struct {
		V int `json:"v"`
	}
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '[' {
		var all []struct {
			V int `json:"v"`
		}
		_ = json.Unmarshal(data, &all) // fills in what can be read
		return len(all) > 0 && all[0].V == VersionRefund
	}
	_ = json.Unmarshal(data, &first)
	return first.V == VersionRefund
}

// DecodeRefundRequested reads a request, or an array of up to MaxGroup, and returns
// an error for a request that billing can't act on.
func DecodeRefundRequested(data []byte) ([]RefundRequested, error) {
	return decodeGroup("refund request", data, RefundRequested.check)
}

func (m RefundRequested) check() error {
	switch {
	case m.V != VersionRefund:
		return fmt.Errorf("version %d is not %d", m.V, VersionRefund)
	case m.RefundID == uuid.Nil || m.OfPurchase == uuid.Nil:
		return errors.New("no refund_id or of_purchase")
	case m.Payer <= 0 || m.Bill <= 0 || m.Minor <= 0:
		return errors.New("payer, bill and minor must be greater than zero")
	}
	return nil
}

// DecodeRefundAnswered reads billing's answer, or an array of up to MaxGroup.
func DecodeRefundAnswered(data []byte) ([]RefundAnswered, error) {
	return decodeGroup("refund answer", data, RefundAnswered.check)
}

func (m RefundAnswered) check() error {
	switch {
	case m.V != VersionRefund:
		return fmt.Errorf("version %d is not %d", m.V, VersionRefund)
	case m.RefundID == uuid.Nil:
		return errors.New("no refund_id")
	case m.Outcome == Refunded && m.TransactionID != nil && *m.TransactionID > 0:
		return nil
	case m.Outcome == Declined && m.Reason == RefundExceeds && m.Refundable != nil && *m.Refundable >= 0:
		return nil
	case m.Outcome == Declined && (m.Reason == BalanceLimit || m.Reason == ChargeNotFound || m.Reason == BillOwes):
		return nil
	}
	return fmt.Errorf("outcome %q with reason %q is not valid", m.Outcome, m.Reason)
}
