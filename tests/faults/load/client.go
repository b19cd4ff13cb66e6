package load

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"lavka/libs/domain/money"
	"lavka/tests/faults/history"
)

// giveUp is the timeout of a request.
const giveUp = 10 * time.Second

// client sends one request at a time and records each call.
type client struct {
	id  int
	rec *history.Recorder
	hc  *http.Client
}

// reply has the members of all responses.
type reply struct {
	Code string `json:"code"`

	// A purchase, or a problem that names one.
	ID            string        `json:"id"`
	PurchaseID    string        `json:"purchase_id"`
	Status        any           `json:"status"` // a problem's is a number
	DeclineReason string        `json:"decline_reason"`
	Price         *money.Amount `json:"price"`
	TransactionID *int64        `json:"transaction_id"`
	OnHand        *int64        `json:"on_hand"`
	Balance       *money.Amount `json:"balance"`

	AsOfTransactionID *int64 `json:"as_of_transaction_id"` // of a bill

	// A page of transactions.
	Items         []item     `json:"items"`
	NextCursor    *string    `json:"next_cursor"`
	CompleteUntil *time.Time `json:"complete_until"`

	// A refund, or a problem that names one; a reversal.
	RefundID  string        `json:"refund_id"`
	Amount    *money.Amount `json:"amount"`
	Debited   *money.Amount `json:"debited"`
	Shortfall *money.Amount `json:"shortfall"`

	// A login, a registration, a password reset.
	AccessToken    string `json:"access_token"`
	RefreshToken   string `json:"refresh_token"`
	Link           string `json:"link"` // to reset a password
	ActivationLink string `json:"activation_link"`
	User           struct {
		ID int64 `json:"id"`
	} `json:"user"`
}

// item is a transaction.
type item struct {
	ID           int64        `json:"id"`
	BillID       int64        `json:"bill_id"`
	Amount       money.Amount `json:"amount"`
	BalanceAfter money.Amount `json:"balance_after"`
	PaymentID    *int64       `json:"payment_id"`
	PurchaseID   *string      `json:"purchase_id"`
	RefundID     *string      `json:"refund_id"`
	ReversalID   *int64       `json:"reversal_id"`
	CreatedAt    time.Time    `json:"created_at"`
}

func (r reply) state() string {
	s, _ := r.Status.(string)
	return s
}

// numbered is a reply whose id is a number.
type numbered struct {
	ID int64 `json:"id"`
}

// call sends a request and reads the whole response. headers are names and values
// in turn.
func (c *client) call(ctx context.Context, method, url, token string, body any, headers ...string) (history.Call, reply, []byte) {
	call, raw := c.send(ctx, method, url, token, body, headers...)
	r := understand(&call, raw)
	return call, r, raw
}

// fetch gets something that is not a reply, unless it is a problem.
func (c *client) fetch(ctx context.Context, url, token, accept string) (history.Call, []byte) {
	call, raw := c.send(ctx, http.MethodGet, url, token, nil, "Accept", accept)
	if call.Status != http.StatusOK {
		understand(&call, raw)
	}
	return call, raw
}

func (c *client) send(ctx context.Context, method, url, token string, body any, headers ...string) (call history.Call, raw []byte) {
	call = history.Call{Client: c.id, Start: c.rec.Now()}
	defer func() { call.End = c.rec.Now() }()
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	sent, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			panic(err) // our own types
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(sent))
	if err != nil {
		panic(err) // our own URLs
	}
	req.GetBody = nil // otherwise net/http silently sends some requests twice
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.hc.Do(req)
	if err != nil {
		call.Failure = err.Error()
		return call, nil
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(resp.Body)
	if err != nil {
		call.Failure = err.Error()
		return call, nil
	}
	call.Status = resp.StatusCode
	call.RetryAfter = resp.Header.Get("Retry-After") != ""
	call.Replayed = resp.Header.Get("Idempotent-Replayed") == "true"
	return call, raw
}

// understand reads a response in JSON.
func understand(call *history.Call, raw []byte) (r reply) {
	if len(raw) == 0 {
		return r
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		var n numbered // ids of users and bills are numbers
		if json.Unmarshal(raw, &n) != nil {
			call.Failure = "not JSON: " + err.Error()
		}
	}
	call.Code = r.Code
	return r
}

func minor(a *money.Amount) *int64 {
	if a == nil {
		return nil
	}
	return new(int64(*a))
}
