package metrics

import (
	"context"
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
	"lavka/services/billing/internal/billing"
)

// ledger is a fake that returns fixed results.
type ledger struct {
	billing.Ledger
	results []billing.Result
}

func (l ledger) Settle(context.Context, []billing.Item) []billing.Result { return l.results }

func TestOnlyNewTransactionsAreCounted(t *testing.T) {
	t.Parallel()
	charge := func(outcome billing.Outcome) *billing.Charge {
		return &billing.Charge{Request: billing.ChargeRequest{Amount: 999}, Outcome: outcome}
	}
	credit, purchase := &billing.Payment{Amount: 2500}, &billing.ChargeRequest{Amount: 999}
	registry := prometheus.NewRegistry()
	l := New(registry).Ledger(ledger{results: []billing.Result{
		billing.Credited{Payment: credit},
		billing.Credited{Payment: credit},
		billing.CreditedBefore{},
		billing.Refused{Problem: problem.New(problem.Conflict, "x", "x")},
		billing.Held{},
		billing.Decided{Charge: charge(billing.Settled)},
		billing.DecidedBefore{Charge: charge(billing.Settled)},
		billing.Decided{Charge: charge(billing.InsufficientFunds)},
		billing.Reversed{Decision: &billing.ReversalDecision{Debited: 300, Shortfall: 50}},
		billing.Reversed{Decision: &billing.ReversalDecision{Shortfall: 7}},
		billing.ReversedBefore{Decision: &billing.ReversalDecision{Debited: 300, Shortfall: 50}},
		billing.RefundDecided{Decision: &billing.RefundDecision{Request: billing.RefundRequest{Amount: 40}, Outcome: billing.Refunded}},
		billing.RefundDecided{Decision: &billing.RefundDecision{Request: billing.RefundRequest{Amount: 40}, Outcome: billing.BillOwes}},
		billing.RefundDecidedBefore{Decision: &billing.RefundDecision{Request: billing.RefundRequest{Amount: 40}, Outcome: billing.Refunded}},
	}})
	if got := l.Settle(t.Context(), []billing.Item{credit, credit, credit, credit, credit, purchase, purchase, purchase}); len(got) != 14 {
		t.Errorf("%d results, want the 14 of the ledger", len(got))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if m.Counter != nil {
				name := f.GetName()
				for _, l := range m.Label {
					name += " " + l.GetValue()
				}
				got[name] = m.Counter.GetValue()
			}
		}
	}
	want := map[string]float64{
		"billing_transactions_total payment": 2, "billing_transactions_minor_units_total payment": 5000,
		"billing_transactions_total purchase": 1, "billing_transactions_minor_units_total purchase": 999,
		"billing_transactions_total refund": 1, "billing_transactions_minor_units_total refund": 40,
		"billing_transactions_total reversal": 1, "billing_transactions_minor_units_total reversal": 300, "billing_reversals_shortfall_minor_units_total": 57,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
