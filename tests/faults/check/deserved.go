package check

import "lavka/tests/faults/history"

// deserved checks the last part of invariant (b): no request is declined or
// refused without a cause. bill_not_found requires that no payment had created the
// bill for the buyer; user_disabled, that the user was disabled at some time;
// expired, that Options.Expiry had passed; product_not_found, that the product did
// not exist; out_of_stock and pending_limit, that its stock is limited. A token is refused (401) only if its user was disabled
// (Options.BadTokens), and a payment only for an unknown user, another user's bill
// or another payment with its id. A decline for insufficient funds is checked by
// (g), a changed price by (h).
func (j *judge) deserved() {
	disabled := map[int64]bool{}
	for _, s := range j.history.Switches {
		disabled[s.UserID] = disabled[s.UserID] || !s.Enabled
	}
	for id, p := range sorted(j.purchases) {
		if wrong := j.undeserved(p, disabled); wrong != "" {
			j.report("b", purchaseName(id), "catalog has %s, requested by %s, but %s", rowText(p.rows[0]), asked(p.causes[0]), wrong)
		}
	}
	offered := map[int64]history.Call{}
	for _, r := range j.history.Reprices {
		if known, ok := offered[r.ProductID]; effective(r.Call) && (!ok || r.End < known.End) {
			offered[r.ProductID] = r.Call
		}
	}
	limited := map[int64]bool{}
	for _, s := range j.books.Stocks {
		limited[s.ProductID] = true
	}
	for i := range j.history.Buys {
		b := &j.history.Buys[i]
		offer, ok := offered[b.ProductID]
		switch {
		case answerTo(b) != refused || b.Status >= 500 || b.Code == "price_changed" || b.Code == "idempotency_key_reused":
		case (b.Code == "out_of_stock" || b.Code == "pending_limit") && limited[b.ProductID]:
		case b.Code == "product_not_found" && !(ok && offer.End < b.Start):
		case b.Status == 401:
			j.tokenTaken(b.UserID, b.Call, disabled)
		default:
			j.report("b", asked(b), "%s was refused (%d %s) without a cause", asked(b), b.Status, b.Code)
		}
	}
	for _, l := range j.history.Looks {
		j.tokenTaken(l.UserID, l.Call, disabled)
	}
	for _, r := range j.history.BillReads {
		j.tokenTaken(r.UserID, r.Call, disabled)
	}
	for _, p := range j.history.Pages {
		if !p.Admin {
			j.tokenTaken(p.UserID, p.Call, disabled)
		}
	}
	for _, b := range j.history.Balances {
		j.tokenTaken(b.UserID, b.Call, disabled)
	}
	j.paymentsDeserved()
}

func (j *judge) undeserved(p *purchase, disabled map[int64]bool) string {
	if len(p.rows) != 1 || len(p.charges) != 1 || len(p.causes) == 0 {
		return "" // other checks report it
	}
	row := p.rows[0]
	switch row.Reason {
	case "bill_not_found":
		for _, call := range j.history.Pays {
			if call.BillID == row.BillID && call.UserID == row.UserID && call.Status == 200 && call.End < p.began() {
				return "a payment had created the bill: " + paid(&call)
			}
		}
	case "buyer_disabled":
		if !disabled[row.UserID] {
			return "the user was never disabled"
		}
	case "expired":
		if p.charges[0].UserID != 0 && j.Expiry > 0 && p.toldBy() != forever && p.toldBy()-p.began() < j.Expiry {
			return "a client saw that before the purchase could expire"
		}
	default: // none, or insufficient_funds, which the ledger shows
	}
	return ""
}

func (j *judge) tokenTaken(user int64, c history.Call, disabled map[int64]bool) {
	if c.Status == 401 && !disabled[user] && !j.BadTokens {
		j.report("b", "a token of user "+number(&user), "user %d was refused (401 %s) %s, but was never disabled", user, c.Code, when(c))
	}
}

func (j *judge) paymentsDeserved() {
	known := map[int64]history.Call{} // by user, the first payment that was credited
	for _, p := range j.history.Pays {
		if first, ok := known[p.UserID]; p.Status == 200 && (!ok || p.End < first.End) {
			known[p.UserID] = p.Call
		}
	}
	for i := range j.history.Pays {
		p := &j.history.Pays[i]
		if answerToPay(p) != refused || p.Status >= 500 || p.Status == 429 {
			continue
		}
		first, ok := known[p.UserID]
		bill := j.bills[p.BillID]
		switch {
		case p.Code == "transaction_conflict": // see unlikeRefused
		case p.Code == "user_not_found" && !(ok && first.End < p.Start):
		case p.Code == "bill_owner_mismatch" && bill != nil && len(bill.rows) == 1 && bill.rows[0].UserID != p.UserID:
		default:
			j.report("b", paymentName(p.PaymentID), "%s was refused (%d %s) without a cause", paid(p), p.Status, p.Code)
		}
	}
}
