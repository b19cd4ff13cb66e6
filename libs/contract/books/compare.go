package books

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
)

// settleTime is how long after its expiry a purchase may be undecided in one of the
// books.
const settleTime = time.Hour

// Compared is the result of Compare.
type Compared struct {
	Purchases   int64    // those in catalog's book on which both must agree
	Refunds     int64    // the same
	Differences []string // sentences, of the first entries that differ
}

// maxDifferences is how many differences Compare lists.
const maxDifferences = 20

// Compare reads both books to their ends, or to the 20th difference. Catalog's must
// have been read from its database before billing's: then billing has every decision
// that catalog knows.
func Compare(catalog, billing *Reader) (Compared, error) {
	if billing.Head.At.Before(catalog.Head.At.Add(-time.Minute)) { // their databases' clocks may differ
		return Compared{}, fmt.Errorf("billing's books are from %s, before catalog's from %s: read catalog's first", billing.Head.At.Format(time.RFC3339), catalog.Head.At.Format(time.RFC3339))
	}
	var result Compared
	before := catalog.Head.At.Add(-settleTime)
	bought, bErr := catalog.Next()
	charged, cErr := billing.Next()
	for len(result.Differences) < maxDifferences {
		if err := failed(bErr, cErr); err != nil {
			return result, err
		}
		if bErr != nil && cErr != nil {
			return result, nil
		}
		var difference string
		switch {
		case cErr != nil || bErr == nil && bought.key() < charged.key():
			difference = uncharged(bought)
			result.count(bought)
			bought, bErr = catalog.Next()
		case bErr != nil || charged.key() < bought.key():
			difference = unbought(charged, before)
			charged, cErr = billing.Next()
		default:
			difference = compare(bought, charged)
			result.count(bought)
			bought, bErr = catalog.Next()
			charged, cErr = billing.Next()
		}
		if difference != "" {
			result.Differences = append(result.Differences, difference)
		}
	}
	return result, nil
}

func (c *Compared) count(e Entry) {
	switch {
	case !e.Due:
	case e.RefundID != "":
		c.Refunds++
	default:
		c.Purchases++
	}
}

func failed(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// uncharged is about a purchase on which billing has not decided.
func uncharged(e Entry) string {
	switch {
	case !e.Due:
		return ""
	case e.Outcome == Pending:
		return stillPending(e) + ", and billing has not decided on it"
	case e.Outcome == Settled && e.RefundID != "":
		return fmt.Sprintf("%s of user %d is completed in catalog, with transaction %d, but billing has no such refund: bill %d was not credited", e.name(), e.UserID, e.TransactionID, e.BillID)
	case e.Outcome == Settled:
		return fmt.Sprintf("%s of user %d is completed in catalog, with transaction %d, but billing has no charge for it: the user has it, and bill %d was not debited", e.name(), e.UserID, e.TransactionID, e.BillID)
	case e.RefundID != "":
		return fmt.Sprintf("%s of user %d is declined in catalog as %s, but billing has no such decision, and could still credit bill %d", e.name(), e.UserID, e.Outcome, e.BillID)
	}
	return fmt.Sprintf("%s of user %d is declined in catalog as %s, but billing has no such decision, and could still charge bill %d", e.name(), e.UserID, e.Outcome, e.BillID)
}

// unbought is about a charge for a purchase, or about a refund, that catalog does not have, made before a
// time: one that is newer may have been placed since catalog's book was read.
func unbought(e Entry, before time.Time) string {
	if e.Outcome != Settled {
		return "" // nothing was taken
	}
	text := e.PurchaseID
	if e.RefundID != "" {
		text = e.RefundID
	}
	id, err := uuid.Parse(text)
	if err == nil && id.Version() == 7 {
		if sec, nsec := id.Time().UnixTime(); !time.Unix(sec, nsec).Before(before) {
			return ""
		}
	}
	if e.RefundID != "" {
		return fmt.Sprintf("billing credited %s to user %d, with transaction %d on bill %d, but catalog does not have that refund", e.name(), e.UserID, e.TransactionID, e.BillID)
	}
	return fmt.Sprintf("billing charged user %d for purchase %s, with transaction %d on bill %d, but catalog does not have that purchase", e.UserID, e.PurchaseID, e.TransactionID, e.BillID)
}

func compare(bought, charged Entry) string {
	if !bought.Due {
		return ""
	}
	if bought.Outcome == Pending {
		return stillPending(bought) + ", although billing decided: " + charged.Outcome
	}
	same := charged
	same.Due = bought.Due
	if charged.Outcome != Settled && charged.Outcome == bought.Outcome && charged.UserID == 0 {
		return "" // billing could not read the request, and so knows no more than its id
	}
	if same != bought {
		return fmt.Sprintf("%s is, in catalog, %s; in billing, %s", bought.name(), bought, charged)
	}
	return ""
}

func stillPending(e Entry) string {
	if e.RefundID != "" {
		return fmt.Sprintf("%s of user %d is still pending in catalog, more than an hour after it was requested", e.name(), e.UserID)
	}
	return fmt.Sprintf("%s of user %d is still pending in catalog, more than an hour after it expired", e.name(), e.UserID)
}

func (e Entry) name() string {
	if e.RefundID != "" {
		return "refund " + e.RefundID + " of purchase " + e.PurchaseID
	}
	return "purchase " + e.PurchaseID
}

// String describes the entry in the sentence of a difference.
func (e Entry) String() string {
	text := fmt.Sprintf("%s for user %d on bill %d, %d minor units", e.Outcome, e.UserID, e.BillID, e.Minor)
	if e.TransactionID != 0 {
		text += fmt.Sprintf(", with transaction %d", e.TransactionID)
	}
	return text
}
