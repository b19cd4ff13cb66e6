package money_test

import (
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"lavka/libs/domain/money"
	"lavka/libs/domain/problem"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]money.Amount{
		"0": 0, "1": 100, "100": 10000, "9.9": 990, "9.99": 999, "0.01": 1, "-5.50": -550,
		"70000000000000": money.Max, "70000000000000.00": money.Max,
	} {
		got, err := money.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-", "-0", "-0.00", "1e2", "1E2", "1.", ".5", "1.000", "1.999", "01", "+1", "0x10", "1_0",
		"70000000000000.01", "99999999999999999999999999", "NaN", "Infinity", " 1", "1 ", "١",
	} {
		_, err := money.Parse(text)
		var p *problem.Error
		if !errors.As(err, &p) || p.Code != "invalid_amount" {
			t.Errorf("Parse(%q): %v, want the problem invalid_amount", text, err)
		}
	}
}

func TestUnmarshalRefusesWhatIsNoNumber(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`"1"`, `true`, `null`, `[1]`, `{}`} {
		var a money.Amount
		var p *problem.Error
		if err := a.UnmarshalJSON([]byte(text)); !errors.As(err, &p) || p.Code != "malformed" {
			t.Errorf("%s: %v, want the problem malformed", text, err)
		}
	}
}

func TestPositive(t *testing.T) {
	t.Parallel()
	for a, ok := range map[money.Amount]bool{-1: false, 0: false, 1: true, money.Max: true, money.Max + 1: false} {
		if err := a.Positive(); (err == nil) != ok {
			t.Errorf("%d.Positive() = %v", a, err)
		}
	}
}

func TestFormattedAmountsParse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := money.Amount(rapid.Int64Range(-int64(money.Max), int64(money.Max)).Draw(t, "amount"))
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back money.Amount
		if err := json.Unmarshal(b, &back); err != nil || back != a {
			t.Fatalf("%d was written as %s and read as %d: %v", a, b, back, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "1.5", "-0", "1e5", "70000000000000.00", "0.001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := money.Parse(text)
		if err != nil {
			return
		}
		if a > money.Max || a < -money.Max {
			t.Fatalf("Parse(%q) = %d, beyond the bound", text, a)
		}
		again, err := money.Parse(a.String())
		if err != nil || again != a {
			t.Fatalf("Parse(%q) = %d, whose text %q reads as %d, %v", text, a, a, again, err)
		}
	})
}
