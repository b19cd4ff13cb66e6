// Package money represents amounts of the shop's one currency exactly.
package money

import (
	"fmt"
	"strconv"
	"strings"

	"lavka/libs/domain/problem"
)

// Amount is a sum in minor units (1/100 of the currency). It may be negative
// in a ledger; use [Amount.Positive] to check an amount from a client.
type Amount int64

// Max bounds every price, payment and balance: 70,000,000,000,000.00. Near 9e13,
// clients that read JSON numbers as IEEE 754 doubles would misread cents.
const Max Amount = 7_000_000_000_000_000

// Parse reads the text of a JSON number (RFC 8259, section 6) with at most two
// decimals. An exponent, "-0", more decimals or a value beyond ±Max is a
// problem "invalid_amount".
func Parse(text string) (Amount, error) {
	digits, negative := strings.CutPrefix(text, "-")
	whole, frac, hasFrac := strings.Cut(digits, ".")
	switch {
	case strings.ContainsAny(text, "eE"):
		return 0, invalid("an amount must not have an exponent")
	case hasFrac && len(frac) > 2:
		return 0, invalid("an amount must have at most two decimals")
	case !allDigits(whole) || (hasFrac && !allDigits(frac)):
		return 0, invalid("an amount must be a JSON number such as 100 or 9.99")
	case len(whole) > 1 && whole[0] == '0':
		return 0, invalid("an amount must not have leading zeros")
	}
	minor, err := strconv.ParseInt(whole+(frac + "00")[:2], 10, 64)
	if err != nil || Amount(minor) > Max {
		return 0, invalid("an amount must be at most 70000000000000.00")
	}
	if negative && minor == 0 {
		return 0, invalid("an amount must not be -0")
	}
	if negative {
		minor = -minor
	}
	return Amount(minor), nil
}

// Positive returns a problem "invalid_amount" unless 0 < a ≤ Max.
func (a Amount) Positive() error {
	if a <= 0 {
		return invalid("an amount must be greater than zero")
	}
	if a > Max {
		return invalid("an amount must be at most 70000000000000.00")
	}
	return nil
}

// String formats the amount as the API does: "100", "9.99", "-0.50".
func (a Amount) String() string { return string(a.append(nil)) }

// longest is the maximum length of a formatted amount.
const longest = len("-92233720368547758.08")

// MarshalJSON writes a JSON number: without a fraction if it is zero, else with
// two decimals.
func (a Amount) MarshalJSON() ([]byte, error) { return a.append(make([]byte, 0, longest)), nil }

// UnmarshalJSON reads a JSON number as [Parse] does; any other JSON value is a
// problem "malformed".
func (a *Amount) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || (b[0] != '-' && (b[0] < '0' || b[0] > '9')) {
		return problem.New(problem.Malformed, "malformed", "an amount must be a JSON number")
	}
	parsed, err := Parse(string(b))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

func (a Amount) append(b []byte) []byte {
	minor := uint64(a)
	if a < 0 {
		b = append(b, '-')
		minor = -minor
	}
	b = strconv.AppendUint(b, minor/100, 10)
	if cents := minor % 100; cents != 0 {
		b = fmt.Appendf(b, ".%02d", cents)
	}
	return b
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func invalid(detail string) error {
	return problem.New(problem.Invalid, "invalid_amount", detail)
}
