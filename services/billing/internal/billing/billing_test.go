package billing

import (
	"errors"
	"testing"
)

func TestCheckNewBill(t *testing.T) {
	t.Parallel()
	for owned, want := range map[int]error{0: nil, MaxBills - 1: nil, MaxBills: ErrTooManyBills, MaxBills + 1: ErrTooManyBills} {
		if err := CheckNewBill(owned); !errors.Is(err, want) {
			t.Errorf("with %d bills: %v, want %v", owned, err, want)
		}
	}
}
