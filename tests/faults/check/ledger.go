package check

import (
	"fmt"
	"time"

	"lavka/tests/faults/history"
)

// ledger checks invariant (e). For each bill, in the order of transaction ids: the
// balance after each line is the balance before it plus its amount, never below
// zero, and the line belongs to the bill's owner. The bill's balance is the balance
// after its last line, 0 without lines, and every line has its bill. Every balance
// that a client read is at least 0. Every page that a client saw is a part of the
// ledger without gaps, newest first, line by line the same, and was shown to the
// bill's owner or to the admin; an export goes back to the bill's first line, and its
// last record counts its items. An earlier balance is that after the last line until
// then.
func (j *judge) ledger() {
	for id, b := range sorted(j.bills) {
		if wrong := b.wrongSum(); wrong != "" {
			j.report("e", billName(id), "bill %d: %s", id, wrong)
		}
		for _, r := range b.reads {
			if r.Balance < 0 || len(b.rows) > 0 && r.UserID != b.rows[0].UserID {
				j.report("e", billName(id), "bill %d was read %s by user %d with the balance %d", id, when(r.Call), r.UserID, r.Balance)
			}
		}
		places := b.places()
		for _, p := range b.pages {
			if wrong := b.unlikePage(p, places); wrong != "" {
				j.report("e", billName(id), "a page of bill %d, read %s by user %d: %s", id, when(p.Call), p.UserID, wrong)
			}
		}
		for _, r := range b.earlier {
			if wrong := b.unlikeEarlier(r); wrong != "" {
				j.report("e", billName(id), "the balance of bill %d at %s, read %s by user %d: %s", id, r.At.Format(time.RFC3339Nano), when(r.Call), r.UserID, wrong)
			}
		}
	}
}

func (b *bill) wrongSum() string {
	if len(b.rows) != 1 {
		return fmt.Sprintf("it is in the books %d times; %d transactions, %d reads and %d declines refer to it",
			len(b.rows), len(b.lines), len(b.reads)+len(b.pages)+len(b.earlier), len(b.declined))
	}
	balance, before := int64(0), int64(0)
	for _, t := range b.lines {
		balance += t.Amount
		if t.After != balance || balance < 0 {
			return fmt.Sprintf("%s follows a balance of %d, and their sum is %d", line(t), balance-t.Amount, balance)
		}
		if t.ID == before {
			return fmt.Sprintf("transaction %d occurs twice", t.ID)
		}
		if t.UserID != b.rows[0].UserID {
			return fmt.Sprintf("it belongs to user %d, and the ledger has %s", b.rows[0].UserID, line(t))
		}
		before = t.ID
	}
	if b.rows[0].Balance != balance {
		return fmt.Sprintf("its balance is %d, but its transactions sum to %d", b.rows[0].Balance, balance)
	}
	return ""
}

// places returns the positions of the bill's lines, by transaction id.
func (b *bill) places() map[int64]int {
	places := make(map[int64]int, len(b.lines))
	for i, t := range b.lines {
		places[t.ID] = i
	}
	return places
}

func (b *bill) unlikePage(p *history.Page, places map[int64]int) string {
	if len(b.rows) > 0 && p.UserID != b.rows[0].UserID {
		return fmt.Sprintf("the bill belongs to user %d", b.rows[0].UserID)
	}
	if p.Failure != "" {
		return p.Failure
	}
	if p.Export && p.Told != len(p.Lines) {
		return fmt.Sprintf("the export has %d items, and its last record says %d", len(p.Lines), p.Told)
	}
	for i, seen := range p.Lines {
		place, ok := places[seen.ID]
		if !ok {
			return fmt.Sprintf("the ledger has no transaction %d", seen.ID)
		}
		t := b.lines[place]
		alike := seen.Amount == t.Amount && seen.After == t.After && same(seen.PaymentID, t.PaymentID) &&
			(seen.PurchaseID == nil) == (t.PurchaseID == nil) && (t.PurchaseID == nil || *seen.PurchaseID == *t.PurchaseID) &&
			same(seen.ReversalID, t.ReversalID) && (seen.RefundID == nil) == (t.RefundID == nil) && (t.RefundID == nil || *seen.RefundID == *t.RefundID)
		if !alike {
			return fmt.Sprintf("it shows transaction %d with amount %d and balance after it %d; the ledger has %s", seen.ID, seen.Amount, seen.After, line(t))
		}
		if i > 0 && place != places[p.Lines[i-1].ID]-1 {
			return fmt.Sprintf("%s does not directly precede transaction %d", line(t), p.Lines[i-1].ID)
		}
	}
	if n := len(p.Lines); p.Export && n > 0 && places[p.Lines[n-1].ID] != 0 {
		return fmt.Sprintf("the export ends with transaction %d, which is not the bill's first", p.Lines[n-1].ID)
	}
	return ""
}

// unlikeEarlier returns how an earlier balance differs from the ledger, or "".
func (b *bill) unlikeEarlier(r *history.BalanceAt) string {
	if len(b.rows) > 0 && r.UserID != b.rows[0].UserID {
		return fmt.Sprintf("the bill belongs to user %d", b.rows[0].UserID)
	}
	var last history.Transaction
	for _, t := range b.lines {
		if !t.At.After(r.At) {
			last = t
		}
	}
	if r.Balance != last.After || value(r.TransactionID) != last.ID {
		return fmt.Sprintf("it is %d after transaction %s, and the ledger has %d after transaction %d", r.Balance, number(r.TransactionID), last.After, last.ID)
	}
	return ""
}
