package load

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// audit reads, until ctx ends, what admins see of purchases and bills, exports of both,
// and earlier balances.
func (w *World) audit(ctx context.Context) {
	c := w.client()
	r := w.random(c)
	for ctx.Err() == nil {
		owner := w.accounts.Buyers[r.IntN(len(w.accounts.Buyers))]
		bills := w.billsOf(owner.ID)
		bill := bills[r.IntN(len(bills))]
		switch r.IntN(5) {
		case 0:
			w.viewPage(ctx, c, owner, bill)
		case 1:
			w.viewPurchases(ctx, c, owner)
		case 2:
			w.exportBill(ctx, c, owner, bill, r.IntN(2) == 0, "text/csv")
		case 3:
			w.exportBill(ctx, c, owner, bill, r.IntN(2) == 0, "application/x-ndjson")
		case 4:
			w.readBalance(ctx, c, owner, bill, time.Now().Add(-time.Duration(2000+r.IntN(3000))*time.Millisecond))
		}
		rest(ctx, time.Duration(50+r.IntN(200))*time.Millisecond)
	}
}

// asAdmin does something once with the admin's token, which may be refused.
func (w *World) asAdmin(ctx context.Context, c *client, do func(token string) history.Call) {
	w.accounts.refused(ctx, c, w.accounts.Admin, do(w.accounts.Admin.Token()))
}

// viewPage is one GET /admin/transactions?bill_id=.
func (w *World) viewPage(ctx context.Context, c *client, owner *Account, bill int64) {
	w.asAdmin(ctx, c, func(token string) history.Call {
		call, r, _ := c.call(context.WithoutCancel(ctx), "GET", fmt.Sprint(w.target.Gateway, "/admin/transactions?bill_id=", bill), token, nil)
		page := history.Page{Call: call, UserID: owner.ID, BillID: bill, Admin: true, Lines: lines(r.Items)}
		w.rec.Add(func(h *history.History) { h.Pages = append(h.Pages, page) })
		return call
	})
}

// viewPurchases is one GET /admin/purchases?user_id=.
func (w *World) viewPurchases(ctx context.Context, c *client, buyer *Account) {
	w.asAdmin(ctx, c, func(token string) history.Call {
		call, raw := c.fetch(context.WithoutCancel(ctx), fmt.Sprint(w.target.Gateway, "/admin/purchases?user_id=", buyer.ID), token, "application/json")
		view := history.View{Call: call, UserID: buyer.ID}
		if call.Status == http.StatusOK {
			var page struct {
				Items []struct {
					ID            string       `json:"id"`
					UserID        int64        `json:"user_id"`
					BillID        int64        `json:"bill_id"`
					Status        string       `json:"status"`
					DeclineReason string       `json:"decline_reason"`
					Price         money.Amount `json:"price"`
					TransactionID *int64       `json:"transaction_id"`
				} `json:"items"`
				NextCursor *string `json:"next_cursor"`
			}
			if err := json.Unmarshal(raw, &page); err != nil {
				view.Failure = err.Error()
			}
			view.More = page.NextCursor != nil
			for _, i := range page.Items {
				view.Looks = append(view.Looks, history.Look{Call: call, UserID: i.UserID, BillID: i.BillID, PurchaseID: i.ID, State: i.Status, Reason: i.DeclineReason, Price: int64(i.Price), TransactionID: i.TransactionID})
			}
		}
		w.rec.Add(func(h *history.History) { h.Views = append(h.Views, view) })
		return call
	})
}

// exportBill exports a bill's transactions as its owner or as the admin.
func (w *World) exportBill(ctx context.Context, c *client, owner *Account, bill int64, admin bool, accept string) {
	export := func(token, url string) history.Call {
		page := history.Page{UserID: owner.ID, BillID: bill, Admin: admin, Export: true}
		var raw []byte
		page.Call, raw = c.fetch(context.WithoutCancel(ctx), fmt.Sprint(url, "?bill_id=", bill), token, accept)
		if page.Status == http.StatusOK {
			read := readCSV
			if accept != "text/csv" {
				read = readNDJSON
			}
			var err error
			if page.Lines, page.Told, err = read(raw); err != nil {
				page.Failure = fmt.Sprintf("%s: %v", accept, err)
			}
		}
		w.rec.Add(func(h *history.History) { h.Pages = append(h.Pages, page) })
		return page.Call
	}
	if admin {
		w.asAdmin(ctx, c, func(token string) history.Call { return export(token, w.target.Gateway+"/admin/transactions") })
		return
	}
	export(owner.Token(), w.target.Gateway+"/transactions")
}

// readBalance is one GET /bills/{id}?at=.
func (w *World) readBalance(ctx context.Context, c *client, owner *Account, bill int64, at time.Time) {
	at = at.UTC().Truncate(time.Microsecond)
	call, r, _ := c.call(context.WithoutCancel(ctx), "GET", fmt.Sprintf("%s/bills/%d?at=%s", w.target.Gateway, bill, at.Format(time.RFC3339Nano)), owner.Token(), nil)
	read := history.BalanceAt{Call: call, UserID: owner.ID, BillID: bill, At: at, TransactionID: r.AsOfTransactionID}
	if call.Status == http.StatusOK && r.Balance != nil {
		read.Balance = int64(*r.Balance)
	}
	w.rec.Add(func(h *history.History) { h.Balances = append(h.Balances, read) })
}

// tail reads new transactions as they become complete, until ctx ends: from one value of
// complete_until to the next.
func (w *World) tail(ctx context.Context) {
	c := w.client()
	for from := (time.Time{}); ctx.Err() == nil; rest(ctx, 200*time.Millisecond) {
		w.asAdmin(ctx, c, func(token string) history.Call {
			got, until := w.read(ctx, c, token, from)
			if got.Status != http.StatusOK || !until.After(from) {
				return got.Call
			}
			if !from.IsZero() {
				got.To = until
				w.rec.Add(func(h *history.History) { h.Followed = append(h.Followed, got) })
			}
			from = until
			w.tailed.Store(&until)
			return got.Call
		})
	}
}

// Tailed returns the time up to which transactions were read as they became complete.
func (w *World) Tailed() time.Time {
	if t := w.tailed.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// read reads all pages of GET /admin/transactions from a time up to complete_until,
// which is zero while it is not known. The status is that of the last page, or 0 if ctx
// ended before it.
func (w *World) read(ctx context.Context, c *client, token string, from time.Time) (got history.Followed, until time.Time) {
	got.From = from
	if from.IsZero() {
		from = time.Now()
	}
	url := fmt.Sprintf("%s/admin/transactions?limit=100&from=%s&to=%s", w.target.Gateway, from.UTC().Format(time.RFC3339Nano), from.UTC().Add(24*time.Hour).Format(time.RFC3339Nano))
	for cursor := ""; ; {
		call, r, _ := c.call(context.WithoutCancel(ctx), "GET", url+cursor, token, nil)
		if cursor == "" {
			got.Call = call
			if r.CompleteUntil != nil {
				until = *r.CompleteUntil
			}
		}
		got.Status, got.End = call.Status, call.End
		if call.Status != http.StatusOK {
			return got, until
		}
		for _, i := range r.Items {
			if i.CreatedAt.Before(until) {
				got.Entries = append(got.Entries, history.Entry{ID: i.ID, BillID: i.BillID})
			}
		}
		if r.NextCursor == nil {
			return got, until
		}
		if ctx.Err() != nil {
			got.Status = 0
			return got, until
		}
		cursor = "&cursor=" + *r.NextCursor
	}
}

// lines are the transactions of a page.
func lines(items []item) []history.Line {
	var all []history.Line
	for _, i := range items {
		all = append(all, i.line())
	}
	return all
}

func (i item) line() history.Line {
	return history.Line{
		ID: i.ID, Amount: int64(i.Amount), After: int64(i.BalanceAfter), PaymentID: i.PaymentID, PurchaseID: i.PurchaseID, RefundID: i.RefundID, ReversalID: i.ReversalID,
	}
}

// readNDJSON reads an export, and the number of items that its last record gives.
func readNDJSON(raw []byte) (all []history.Line, told int, err error) {
	for d := json.NewDecoder(bytes.NewReader(raw)); ; {
		var record struct {
			item
			End   bool `json:"end"`
			Items int  `json:"items"`
		}
		if err := d.Decode(&record); err != nil {
			return all, 0, fmt.Errorf("record %d: %w", len(all)+1, err)
		}
		if record.End {
			if d.More() {
				return all, 0, errors.New("there are records after the last one")
			}
			return all, record.Items, nil
		}
		all = append(all, record.line())
	}
}

// readCSV does the same.
func readCSV(raw []byte) (all []history.Line, told int, err error) {
	r := csv.NewReader(bytes.NewReader(raw))
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	if err != nil {
		return nil, 0, err
	}
	if len(records) < 2 || len(records[len(records)-1]) != 2 || records[len(records)-1][0] != "#end" {
		return nil, 0, errors.New("the last record is missing")
	}
	columns, rows, end := records[0], records[1:len(records)-1], records[len(records)-1]
	for n, row := range rows {
		// The record in JSON, of which numbers are numbers.
		members := map[string]any{}
		for i, name := range columns {
			switch value := row[i]; name {
			case "purchase_id", "refund_id", "created_at":
				if value != "" {
					members[name] = value
				}
			case "id", "bill_id", "amount", "balance_after", "payment_id", "reversal_id":
				if value != "" {
					members[name] = json.Number(value)
				}
			}
		}
		record, err := json.Marshal(members)
		if err != nil {
			return nil, 0, fmt.Errorf("record %d: %w", n+1, err)
		}
		var i item
		if err := json.Unmarshal(record, &i); err != nil {
			return nil, 0, fmt.Errorf("record %d: %w", n+1, err)
		}
		all = append(all, i.line())
	}
	told, err = strconv.Atoi(end[1])
	return all, told, err
}
