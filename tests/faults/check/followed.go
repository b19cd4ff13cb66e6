package check

import (
	"fmt"
	"time"
)

// followed checks invariant (o). What a reader was given of the time between one value
// of complete_until and the next is exactly what the ledger has of that time in the end.
func (j *judge) followed() {
	for _, f := range j.history.Followed {
		given := make(map[int64]bool, len(f.Entries))
		between := fmt.Sprintf("a reader who followed complete_until from %s to %s, %s", f.From.Format(time.RFC3339Nano), f.To.Format(time.RFC3339Nano), when(f.Call))
		for _, e := range f.Entries {
			if given[e.ID] {
				j.report("o", transactionName(e.ID), "%s, was given transaction %d twice", between, e.ID)
			}
			given[e.ID] = true
		}
		for _, t := range j.books.Transactions {
			if t.At.Before(f.From) || !t.At.Before(f.To) {
				continue
			}
			if !given[t.ID] {
				j.report("o", transactionName(t.ID), "%s, was not given %s of %s", between, line(t), t.At.Format(time.RFC3339Nano))
			}
			delete(given, t.ID)
		}
		for id := range sorted(given) {
			j.report("o", transactionName(id), "%s, was given transaction %d, which the ledger does not have there", between, id)
		}
	}
}

func transactionName(id int64) string { return fmt.Sprintf("transaction %d", id) }
