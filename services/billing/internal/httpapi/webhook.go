package httpapi

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpserver"
	"lavka/libs/service/strictjson"
	"lavka/libs/service/telemetry"
	"lavka/services/billing/internal/billing"
)

// maxWebhook is the maximum size of a webhook's body, in bytes.
const maxWebhook = 16 << 10

// Webhook receives top-ups from the payment provider. It depends on Postgres only,
// not on auth, catalog or NATS.
type Webhook struct {
	signatures Signatures
	settler    *billing.Settler
	outcomes   *prometheus.CounterVec
	signed     *prometheus.CounterVec
}

// NewWebhook returns a Webhook that accepts these signatures.
func NewWebhook(signatures Signatures, settler *billing.Settler, registry prometheus.Registerer) *Webhook {
	outcomes := newCounter(registry, "billing_webhooks_total", "Webhook calls by outcome: credited, repeated, or the code of the refusal.", "outcome",
		"credited", "repeated", "malformed", "invalid_signature", "signature_expired", "invalid_id", "invalid_amount", "transaction_conflict", "user_not_found",
		"bill_owner_mismatch", "balance_limit", "bill_busy", "overloaded", "outcome_unknown", "internal")
	signed := newCounter(registry, "billing_webhook_signatures_total", "Webhook calls with a right signature, by its version: legacy (in the body) or v2 (in the header).",
		"version", legacy, v2)
	return &Webhook{signatures: signatures, settler: settler, outcomes: outcomes, signed: signed}
}

// newCounter registers a counter with one label. Each value begins at zero, so that
// rate() has one to start from.
func newCounter(registry prometheus.Registerer, name, help, label string, values ...string) *prometheus.CounterVec {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	for _, value := range values {
		counter.WithLabelValues(value)
	}
	registry.MustRegister(counter)
	return counter
}

// Handle answers POST /payment/webhook. It reads the raw bytes, checks their form,
// then the signature, and only then the meaning of the values.
func (h *Webhook) Handle(c echo.Context) error {
	answer, repeat, err := h.credit(c)
	outcome := "credited"
	switch {
	case err != nil:
		outcome = problem.From(err).Code
	case repeat:
		outcome = "repeated"
		c.Response().Header().Set("Idempotent-Replayed", "true")
	}
	h.outcomes.WithLabelValues(outcome).Inc()
	telemetry.Note(c.Request().Context(), slog.String("outcome", outcome))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, answer)
}

type credited struct {
	Status        string `json:"status"`
	TransactionID int64  `json:"transaction_id"`
	BillID        int64  `json:"bill_id"`
}

func (h *Webhook) credit(c echo.Context) (answer credited, repeat bool, err error) {
	payment, version, err := h.read(c)
	ctx := c.Request().Context()
	if version != "" { // the signature is right
		h.signed.WithLabelValues(version).Inc()
	}
	if version != "" && err != nil {
		return answer, false, h.settler.Refuse(ctx, payment, err)
	}
	if err != nil {
		return answer, false, err
	}
	repeat, err = h.settler.Pay(ctx, payment)
	if err != nil {
		return answer, false, h.withTime(err)
	}
	return credited{"credited", payment.ID, payment.BillID}, repeat, nil
}

// withTime adds the time to the problem "signature_expired".
func (h *Webhook) withTime(err error) error {
	if errors.Is(err, billing.ErrSignatureExpired) {
		return problem.From(err).With("server_time", h.signatures.V2.Now().UTC().Format(time.RFC3339))
	}
	return err
}

// read returns the payment of a call. It checks the form (400), then the signature
// (403), and then the values (422). Once the signature is right, the version is that of
// the signature, also if the values are wrong; before, it is "".
func (h *Webhook) read(c echo.Context) (payment billing.Payment, version string, err error) {
	body, err := httpserver.ReadBody(c, maxWebhook)
	if err != nil {
		return payment, "", err
	}
	ctx, header := c.Request().Context(), c.Request().Header
	call, err := readWebhook(body, versionOf(header))
	if err != nil {
		return payment, "", err
	}
	expired, err := h.signatures.judge(header, body, call)
	if err != nil {
		return payment, "", err
	}
	telemetry.Note(ctx, slog.Int64("payment_id", call.transactionID), slog.Int64("bill_id", call.billID), slog.Int64("user_id", call.userID))
	payment, err = billing.NewPayment(call.transactionID, call.userID, call.billID, call.text.amount)
	payment.Expired = expired
	return payment, versionOf(header), err
}

// webhookCall is a call of the provider: the ids, and the texts it signed.
type webhookCall struct {
	signature                     [sha1.Size]byte // that of the body, which may be 0 if another is in the header
	transactionID, userID, billID int64
	text                          struct{ transactionID, userID, billID, amount string }
}

// readWebhook parses the body. It returns the problem "malformed" unless the ids
// are 64-bit integers, the amount is a number and, if it is in the body, the signature
// is 40 hexadecimal digits. Requiring plain number tokens prevents length extension
// attacks on SHA-1: a forged text would contain bytes that no number contains.
//
// With a signature in the header, other members are refused: the key signs other
// kinds of bodies too, and none may pass for a payment.
func readWebhook(body []byte, version string) (webhookCall, error) {
	var call webhookCall
	if err := strictjson.Check(body); err != nil {
		return call, err
	}
	var raw struct {
		Signature     jsontext.Value `json:"signature"`
		TransactionID jsontext.Value `json:"transaction_id"`
		UserID        jsontext.Value `json:"user_id"`
		BillID        jsontext.Value `json:"bill_id"`
		Amount        jsontext.Value `json:"amount"`
	}
	err := json.Unmarshal(body, &raw, json.RejectUnknownMembers(version == v2))
	if errors.Is(err, json.ErrUnknownName) {
		return call, malformed("a payment that is signed in the header has the members transaction_id, user_id, bill_id and amount, and no others").Because(err)
	}
	if err != nil {
		return call, malformed("the body must be a JSON object").Because(err)
	}
	if err := checkNames(body); err != nil {
		return call, err
	}
	if version == legacy || raw.Signature != nil {
		if call.signature, err = readSignature(raw.Signature); err != nil {
			return call, err
		}
	}
	for _, id := range []struct {
		name string
		raw  jsontext.Value
		into *int64
		text *string
	}{
		{"transaction_id", raw.TransactionID, &call.transactionID, &call.text.transactionID},
		{"user_id", raw.UserID, &call.userID, &call.text.userID},
		{"bill_id", raw.BillID, &call.billID, &call.text.billID},
	} {
		*id.text = string(id.raw)
		if *id.into, err = strconv.ParseInt(*id.text, 10, 64); err != nil || id.raw.Kind() != '0' {
			return call, malformed(id.name + " must be a 64-bit integer")
		}
	}
	call.text.amount = string(raw.Amount)
	if raw.Amount.Kind() != '0' {
		return call, malformed("amount must be a JSON number")
	}
	return call, nil
}

// checkNames refuses members whose names differ from ours only in case: beside the
// right ones, they could mislead a reader.
func checkNames(body []byte) error {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return malformed("the body must be a JSON object").Because(err)
	}
	for name := range members {
		for _, ours := range []string{"signature", "transaction_id", "user_id", "bill_id", "amount"} {
			if name != ours && strings.EqualFold(name, ours) {
				return malformed("the member name " + ours + " must be in lower case")
			}
		}
	}
	return nil
}

func readSignature(raw jsontext.Value) (sum [sha1.Size]byte, err error) {
	var text string
	if raw.Kind() != '"' || json.Unmarshal(raw, &text) != nil || len(text) != hex.EncodedLen(sha1.Size) {
		return sum, malformed("signature must be 40 hexadecimal digits")
	}
	if _, err := hex.Decode(sum[:], []byte(text)); err != nil {
		return sum, malformed("signature must be 40 hexadecimal digits")
	}
	return sum, nil
}

func malformed(detail string) *problem.Error {
	return problem.New(problem.Malformed, "malformed", detail)
}
