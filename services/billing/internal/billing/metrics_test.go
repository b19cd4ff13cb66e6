package billing

import (
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/domain/problem"
)

func TestOnlyNewTransactionsAreCounted(t *testing.T) {
	t.Parallel()
	charge := func(outcome Outcome) *Charge {
		return &Charge{Request: ChargeRequest{Amount: 999}, Outcome: outcome}
	}
	credit, purchase := &Payment{Amount: 2500}, &ChargeRequest{Amount: 999}
	registry := prometheus.NewRegistry()
	l := NewMetrics(registry).Ledger(&ledger{settle: each(
		Credited{credit},
		Credited{credit},
		CreditedBefore{},
		Refused{problem.New(problem.Conflict, "x", "x")},
		Held{},
		Decided{charge(Settled)},
		DecidedBefore{charge(Settled)},
		Decided{charge(InsufficientFunds)},
	)})
	l.Settle(t.Context(), []Item{credit, credit, credit, credit, credit, purchase, purchase, purchase})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if m.Counter != nil {
				got[f.GetName()+" "+m.Label[0].GetValue()] = m.Counter.GetValue()
			}
		}
	}
	want := map[string]float64{
		"billing_transactions_total payment": 2, "billing_transactions_minor_units_total payment": 5000,
		"billing_transactions_total purchase": 1, "billing_transactions_minor_units_total purchase": 999,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
