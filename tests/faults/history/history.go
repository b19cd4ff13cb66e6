// Package history records what clients saw of a shop and what its databases hold
// at the end: the input of the checker (lavka/tests/faults/check).
//
// Amounts are in minor units. Times are since the start of the run, by one
// monotonic clock.
package history

import (
	"iter"
	"slices"
	"time"
)

// Call is one request and its response.
type Call struct {
	Client     int // the sender; a client sends one request at a time
	Start, End time.Duration
	Status     int    // 0: the connection broke, or the request timed out
	Code       string // of a problem
	RetryAfter bool   // the header was present
	Replayed   bool   // Idempotent-Replayed: true
	Failure    string // why there was no status, or why the response violates the contract
}

// Answered reports whether the call got a response.
func (c Call) Answered() bool { return c.Status != 0 }

// Buy is one POST /purchases.
type Buy struct {
	Call
	UserID, ProductID, BillID int64
	Quantity                  int64  // 0 stands for 1, without the member
	Key                       string // Idempotency-Key; "" for none
	Expected                  *int64 // expected_price

	// Of the answer, where it has them:
	PurchaseID    string
	State         string // pending, completed, declined (also of a 402 and such)
	Price         *int64 // of one
	Amount        *int64
	Balance       *int64 // of insufficient funds
	TransactionID *int64
}

// Pay is one POST /payment/webhook, correctly signed.
type Pay struct {
	Call
	PaymentID, UserID, BillID, Amount int64
}

// BillRead is one GET /bills/{id} by its owner.
type BillRead struct {
	Call
	UserID, BillID int64
	Balance        int64 // of a 200
}

// Look is one GET /purchases/{id} by its buyer.
type Look struct {
	Call
	UserID        int64
	BillID        int64 // only in a view
	PurchaseID    string
	State         string // of a 200: pending, completed, declined
	Reason        string
	Price         int64
	TransactionID *int64
}

// Page is one GET /transactions?bill_id= by the bill's owner, or GET
// /admin/transactions?bill_id= by the admin, newest first.
type Page struct {
	Call
	UserID, BillID int64  // the bill's owner
	Admin          bool   // the admin read it
	Lines          []Line // of a 200
	Export         bool   // all of the list was requested, as CSV or NDJSON
	Told           int    // of an export: the number of items that its last record gives
}

// View is one GET /admin/purchases?user_id= by the admin.
type View struct {
	Call
	UserID int64
	Looks  []Look // of a 200: what it shows of each purchase, newest first
	More   bool   // there are older ones
}

// BalanceAt is one GET /bills/{id}?at= by the bill's owner.
type BalanceAt struct {
	Call
	UserID, BillID int64
	At             time.Time // by the database's clock
	Balance        int64     // of a 200
	TransactionID  *int64    // the last one until then
}

// Followed is what a reader of GET /admin/transactions was given of the time between
// one value of complete_until and the next.
type Followed struct {
	Call               // of the first page
	From, To time.Time // by the database's clock; without To
	Entries  []Entry
}

// Entry is a transaction as the reader saw it.
type Entry struct{ ID, BillID int64 }

// Line is a transaction as a client sees it.
type Line struct {
	ID, Amount, After int64
	PaymentID         *int64
	PurchaseID        *string
	RefundID          *string
	ReversalID        *int64
}

// Refund is one POST /purchases/{id}/refunds by the admin.
type Refund struct {
	Call
	PurchaseID string
	Key        string
	Amount     int64 // 0: all that was left
	Force      bool
	Restock    int64

	// Of the answer, where it has them:
	RefundID      string
	State         string // pending, completed, declined
	Refunded      int64  // the amount
	TransactionID *int64
}

// Reversal is one POST /payment/reversals, correctly signed.
type Reversal struct {
	Call
	ReversalID, PaymentID, Total int64
	Debited, Shortfall           int64 // of a 200
}

// Reprice is one PATCH /products/{id}. The first of a product is its creation.
type Reprice struct {
	Call
	ProductID, Price int64
}

// Switch is one PATCH /users/{id} that enables or disables.
type Switch struct {
	Call
	UserID  int64
	Enabled bool
}

// Access is one request with a token, sent to one replica.
type Access struct {
	Call
	UserID    int64
	TokenFrom time.Duration // when the login (or refresh) that returned the token began
	Replica   string
}

// Login is one POST /auth/login of a user with several devices.
type Login struct {
	Call
	UserID   int64
	Password int // which of the user's passwords
	Session  int // the session that a 200 starts
}

// Ending is one DELETE /auth/sessions?others=true, which ends all of a user's sessions
// but one.
type Ending struct {
	Call
	UserID  int64
	Session int // the one that stays
}

// Reset is one POST /auth/password-reset/confirm.
type Reset struct {
	Call
	UserID         int64
	Link, Password int
}

// Use is one use of a session: a request with its access token to one replica, or the
// only POST /auth/refresh with its first refresh token.
type Use struct {
	Call
	UserID  int64
	Session int
	Refresh bool
	Replica string
}

// History is what the clients of a run saw.
type History struct {
	Buys      []Buy
	Pays      []Pay
	BillReads []BillRead
	Looks     []Look
	Pages     []Page
	Reprices  []Reprice
	Switches  []Switch
	Accesses  []Access
	Refunds   []Refund
	Reversals []Reversal
	Views     []View
	Balances  []BalanceAt
	Followed  []Followed
	Logins    []Login
	Endings   []Ending
	Resets    []Reset
	Uses      []Use
	Stockings []Stocking
}

// Calls iterates over every call and its kind. Payments and accesses go to a
// replica, all others through the gateway.
func (h History) Calls() iter.Seq2[string, Call] {
	return func(yield func(string, Call) bool) {
		_ = each(h.Buys, yield, "purchase", func(c Buy) Call { return c.Call }) &&
			each(h.Pays, yield, "payment", func(c Pay) Call { return c.Call }) &&
			each(h.BillReads, yield, "bill", func(c BillRead) Call { return c.Call }) &&
			each(h.Looks, yield, "look", func(c Look) Call { return c.Call }) &&
			each(h.Pages, yield, "page", func(c Page) Call { return c.Call }) &&
			each(h.Reprices, yield, "price", func(c Reprice) Call { return c.Call }) &&
			each(h.Switches, yield, "switch", func(c Switch) Call { return c.Call }) &&
			each(h.Accesses, yield, "access", func(c Access) Call { return c.Call }) &&
			each(h.Refunds, yield, "refund", func(c Refund) Call { return c.Call }) &&
			each(h.Reversals, yield, "payment", func(c Reversal) Call { return c.Call }) && // of the provider, too
			each(h.Views, yield, "view", func(c View) Call { return c.Call }) &&
			each(h.Balances, yield, "balance", func(c BalanceAt) Call { return c.Call }) &&
			each(h.Followed, yield, "followed", func(c Followed) Call { return c.Call }) &&
			each(h.Logins, yield, "login", func(c Login) Call { return c.Call }) &&
			each(h.Endings, yield, "ending", func(c Ending) Call { return c.Call }) &&
			each(h.Resets, yield, "reset", func(c Reset) Call { return c.Call }) &&
			each(h.Uses, yield, "access", func(c Use) Call { return c.Call }) &&
			each(h.Stockings, yield, "stock", func(c Stocking) Call { return c.Call })
	}
}

func each[T any](some []T, yield func(string, Call) bool, what string, call func(T) Call) bool {
	for _, one := range some {
		if !yield(what, call(one)) {
			return false
		}
	}
	return true
}

// Within returns the part of a history that concerns the bills and payments with
// ids from from up to, but not including, to. Changes of prices are all included;
// calls that concern users' access and sessions, from the first of these payments on.
func (h History) Within(from, to int64) History {
	in := func(id int64) bool { return id >= from && id < to }
	var part History
	for _, c := range h.Buys {
		if in(c.BillID) {
			part.Buys = append(part.Buys, c)
		}
	}
	bought := map[string]bool{}
	for _, c := range part.Buys {
		bought[c.PurchaseID] = true
	}
	for _, c := range h.Pays {
		if in(c.PaymentID) {
			part.Pays = append(part.Pays, c)
		}
	}
	for _, c := range h.BillReads {
		if in(c.BillID) {
			part.BillReads = append(part.BillReads, c)
		}
	}
	for _, c := range h.Looks {
		if bought[c.PurchaseID] {
			part.Looks = append(part.Looks, c)
		}
	}
	for _, c := range h.Pages {
		if in(c.BillID) {
			part.Pages = append(part.Pages, c)
		}
	}
	for _, c := range h.Refunds {
		if bought[c.PurchaseID] {
			part.Refunds = append(part.Refunds, c)
		}
	}
	for _, c := range h.Reversals {
		if in(c.PaymentID) {
			part.Reversals = append(part.Reversals, c)
		}
	}
	for _, c := range h.Balances {
		if in(c.BillID) {
			part.Balances = append(part.Balances, c)
		}
	}
	for _, c := range h.Views {
		c.Looks = slices.DeleteFunc(slices.Clone(c.Looks), func(l Look) bool { return !in(l.BillID) })
		part.Views = append(part.Views, c)
	}
	part.Reprices, part.Stockings = h.Reprices, h.Stockings
	if len(part.Pays) == 0 {
		return part
	}
	begin := part.Pays[0].Start
	part.Switches, part.Accesses = since(h.Switches, begin), since(h.Accesses, begin)
	part.Logins, part.Endings = since(h.Logins, begin), since(h.Endings, begin)
	part.Resets, part.Uses = since(h.Resets, begin), since(h.Uses, begin)
	for _, c := range h.Followed {
		if c.Start >= begin {
			c.Entries = slices.DeleteFunc(slices.Clone(c.Entries), func(e Entry) bool { return !in(e.BillID) })
			part.Followed = append(part.Followed, c)
		}
	}
	return part
}

// since returns the calls that began at a time or later.
func since[C interface{ began() time.Duration }](all []C, begin time.Duration) []C {
	return slices.DeleteFunc(slices.Clone(all), func(c C) bool { return c.began() < begin })
}

func (c Call) began() time.Duration { return c.Start }

// Books are what the databases hold when no work is left.
type Books struct {
	Purchases    []Purchase    // catalog.purchases
	Charges      []Charge      // billing.charges
	Transactions []Transaction // billing.transactions
	Bills        []Bill        // billing.bills
	Customers    []User        // billing.customers
	Users        []User        // auth.users
	Refunds      []RefundRow   // catalog.refunds
	Credits      []Credit      // billing.refunds
	Takebacks    []Takeback    // billing.reversals
	Logged       []Logged      // what admins changed
	Stocks       []Stock       // catalog.stock
	StockChanges []StockChange // catalog.stock_changes
}

// RefundRow is a row of catalog.refunds.
type RefundRow struct {
	ID, PurchaseID, Key    string
	UserID, BillID, Amount int64
	Status                 string // pending, completed, declined
	Reason                 string
	TransactionID          *int64
	Restock                int64
}

// Credit is billing's decision on a refund.
type Credit struct {
	ID                     int64 // of its transaction, if it was credited
	RefundID, PurchaseID   string
	UserID, BillID, Amount int64
	Outcome                string // refunded, or why it was declined
}

// Takeback is billing's decision on a reversal.
type Takeback struct {
	ID, ReversalID, PaymentID, BillID int64
	Total, Due, Debited, Shortfall    int64
}

// Logged compares the admins' log with the changes of a product or a user.
type Logged struct {
	Subject string
	Changes int64 // of a product, from its creation; of a user: 1 if disabled, otherwise 0
	Entries int64 // in the log; of a user: how much more often they were disabled than enabled
}

// Purchase is a row of catalog.purchases.
type Purchase struct {
	ID                        string
	UserID, ProductID, BillID int64
	Key                       string
	Price                     int64 // of one
	Expected                  *int64
	Status                    string // pending, completed, declined
	Reason                    string
	Balance, TransactionID    *int64
	Quantity                  int64 // 0 stands for 1
	Taken                     int64 // of a limited stock
}

// Units returns how many were bought.
func (p Purchase) Units() int64 { return max(1, p.Quantity) }

// Amount returns what is charged for all units.
func (p Purchase) Amount() int64 { return p.Price * p.Units() }

// Charge is billing's decision on a purchase.
type Charge struct {
	PurchaseID             string
	UserID, BillID, Amount int64  // 0 if the request could not be parsed
	Outcome                string // settled, or why it was declined
	Balance, TransactionID *int64
}

// Transaction is a line of the ledger.
type Transaction struct {
	ID, BillID, UserID, Amount, After int64
	PaymentID                         *int64
	PurchaseID                        *string
	RefundID                          *string
	ReversalID                        *int64
	At                                time.Time
}

// Bill is a bill with its cached sum.
type Bill struct{ ID, UserID, Balance int64 }

// User is a user as stored by auth or billing.
type User struct {
	ID      int64
	Status  string // inactive, active, disabled
	Version int64
}
