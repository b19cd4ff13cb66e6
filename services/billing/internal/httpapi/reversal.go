package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
	"lavka/libs/service/export"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/page"
	"lavka/libs/service/standardwebhooks"
	"lavka/libs/service/strictjson"
	"lavka/libs/service/telemetry"
	"lavka/services/billing/api"
	"lavka/services/billing/internal/billing"
)

// Reversals receives chargebacks from the payment provider. Like the Webhook, it
// depends on Postgres only. It accepts signatures in the header only.
type Reversals struct {
	signatures *standardwebhooks.Verifier
	settler    *billing.Settler
	open       func() error // an error while reversals must not be written
	outcomes   *prometheus.CounterVec
}

// NewReversals returns Reversals that accept these signatures.
func NewReversals(signatures *standardwebhooks.Verifier, settler *billing.Settler, open func() error, registry prometheus.Registerer) *Reversals {
	outcomes := newCounter(registry, "billing_reversals_total", "Calls of POST /payment/reversals by outcome: decided, repeated, or the code of the refusal.", "outcome",
		"decided", "repeated", "malformed", "invalid_signature", "signature_expired", "not_open_yet", "invalid_id", "invalid_amount", "payment_not_found",
		"transaction_conflict", "reversal_exceeds", "bill_busy", "overloaded", "outcome_unknown", "internal")
	return &Reversals{signatures: signatures, settler: settler, open: open, outcomes: outcomes}
}

type reversed struct {
	ReversalID    int64        `json:"reversal_id"`
	TransactionID int64        `json:"transaction_id"`
	Debited       money.Amount `json:"debited"`
	Shortfall     money.Amount `json:"shortfall"`
}

// Handle answers POST /payment/reversals, in the order of the Webhook: the form (400),
// the signature (403), the gate (503), and only then the values.
func (h *Reversals) Handle(c echo.Context) error {
	d, repeat, err := h.reverse(c)
	outcome := "decided"
	switch {
	case err != nil:
		outcome = problem.From(err).Code
	case repeat:
		outcome = "repeated"
		c.Response().Header().Set("Idempotent-Replayed", "true")
	}
	h.outcomes.WithLabelValues(outcome).Inc()
	telemetry.Note(c.Request().Context(), slog.String("outcome", outcome))
	if errors.Is(err, billing.ErrReversalExpired) {
		err = problem.From(err).With("server_time", h.signatures.Now().UTC().Format(time.RFC3339))
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, reversed{d.ReversalID, d.PaymentID, d.Debited, d.Shortfall})
}

func (h *Reversals) reverse(c echo.Context) (d *billing.ReversalDecision, repeat bool, err error) {
	body, err := httpserver.ReadBody(c, maxWebhook)
	if err != nil {
		return nil, false, err
	}
	call, err := readReversal(body)
	if err != nil {
		return nil, false, err
	}
	signed := h.signatures.Verify(c.Request().Header, body)
	expired := errors.Is(signed, standardwebhooks.ErrExpired)
	if signed != nil && !expired {
		return nil, false, errSignature.Because(signed)
	}
	if err := h.open(); err != nil {
		return nil, false, err
	}
	ctx := c.Request().Context()
	telemetry.Note(ctx, slog.Int64("reversal_id", call.id), slog.Int64("payment_id", call.transactionID))
	r, err := billing.NewReversal(call.id, call.transactionID, call.total)
	if err != nil {
		return nil, false, h.settler.RefuseReversal(ctx, r, err)
	}
	r.Expired = expired
	return h.settler.Reverse(ctx, r)
}

type reversalCall struct {
	id, transactionID int64
	total             string // exactly as received
}

// readReversal parses the body. It returns the problem "malformed" unless it has the
// three members and no others: the keys sign payments too, and none may pass for a
// reversal.
func readReversal(body []byte) (reversalCall, error) {
	var call reversalCall
	if err := strictjson.Check(body); err != nil {
		return call, err
	}
	var raw struct {
		ReversalID    jsontext.Value `json:"reversal_id"`
		TransactionID jsontext.Value `json:"transaction_id"`
		ReversedTotal jsontext.Value `json:"reversed_total"`
	}
	err := json.Unmarshal(body, &raw, json.RejectUnknownMembers(true))
	if errors.Is(err, json.ErrUnknownName) {
		return call, malformed("a reversal has the members reversal_id, transaction_id and reversed_total, and no others").Because(err)
	}
	if err != nil {
		return call, malformed("the body must be a JSON object").Because(err)
	}
	for _, id := range []struct {
		name string
		raw  jsontext.Value
		into *int64
	}{
		{"reversal_id", raw.ReversalID, &call.id},
		{"transaction_id", raw.TransactionID, &call.transactionID},
	} {
		if *id.into, err = strconv.ParseInt(string(id.raw), 10, 64); err != nil || id.raw.Kind() != '0' {
			return call, malformed(id.name + " must be a 64-bit integer")
		}
	}
	if raw.ReversedTotal.Kind() != '0' {
		return call, malformed("reversed_total must be a JSON number")
	}
	call.total = string(raw.ReversedTotal)
	return call, nil
}

// ListReversals answers GET /admin/reversals.
func (h *Handlers) ListReversals(ctx context.Context, r api.ListReversalsRequestObject) (api.ListReversalsResponseObject, error) {
	const list = "reversals"
	p := r.Params
	f := billing.ReversalFilter{UserID: p.UserId, BillID: p.BillId, PaymentID: p.PaymentId}
	if p.Shortfall != nil {
		if !p.Shortfall.Valid() {
			return nil, problem.InvalidFields(problem.Field{Field: "shortfall", Message: "must be true or false"})
		}
		f.Short = *p.Shortfall == api.True
	}
	var err error
	if f.When, err = filter.NewRange(p.From, p.To); err != nil {
		return nil, err
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	if export.Asked(ctx) {
		if err := export.Whole(p.Limit, p.Cursor); err != nil {
			return nil, err
		}
		return exportOf(ctx, h.exports, reversals, func(d billing.ReversalDecision) int64 { return d.ID }, func(ctx context.Context, before *int64, limit int) ([]billing.ReversalDecision, error) {
			f.Before, f.Limit = before, limit
			return h.store.Reversals(ctx, f)
		}), nil
	}
	var until *time.Time
	if f.Before, until, f.Limit, err = h.follow(list, p.Limit, p.Cursor); err != nil {
		return nil, err
	}
	found, err := h.store.Reversals(ctx, f)
	if err != nil {
		return nil, err
	}
	cut, err := page.Cut(ctx, list, found, f.Limit-1, func(d billing.ReversalDecision) any { return entry{d.ID, until} }, toBookedReversal)
	if err != nil {
		return nil, err
	}
	return respond(cut.With("complete_until", until))
}

func toBookedReversal(d billing.ReversalDecision) api.BookedReversal {
	return api.BookedReversal{
		Id: d.ID, ReversalId: d.ReversalID, TransactionId: d.PaymentID, BillId: d.BillID, UserId: d.UserID,
		ReversedTotal: d.Total, Debited: d.Debited, Shortfall: d.Shortfall, CreatedAt: d.DecidedAt.UTC(),
	}
}
