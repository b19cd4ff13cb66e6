// Package filter is what a list can be narrowed to: a range of time, and the
// combinations of filters that an index has in the list's order.
package filter

import (
	"time"

	"lavka/libs/domain/problem"
)

// MaxWindow is the longest range of time for a list that is not of one user or bill.
const MaxWindow = 31 * 24 * time.Hour

// Range is a range of time. Its zero value has no bounds.
type Range struct {
	From *time.Time // from this time on
	To   *time.Time // before this time
}

// NewRange returns a Range, or the problem "validation_failed" if it has both bounds
// and from is not before to.
func NewRange(from, to *time.Time) (Range, error) {
	if from != nil && to != nil && !from.Before(*to) {
		return Range{}, problem.InvalidFields(problem.Field{Field: "to", Message: "must be after from"})
	}
	return Range{From: from, To: to}, nil
}

// Open reports whether the range has no bounds.
func (r Range) Open() bool { return r.From == nil && r.To == nil }

// Window returns the problem "validation_failed" if the range has one bound only, or
// bounds that are more than MaxWindow apart. A range without bounds passes: its pages
// are as short as any.
func (r Range) Window() error {
	switch {
	case r.Open():
		return nil
	case r.From == nil:
		return problem.InvalidFields(problem.Field{Field: "from", Message: "is required beside to, unless the list is of one user or bill"})
	case r.To == nil:
		return problem.InvalidFields(problem.Field{Field: "to", Message: "is required beside from, unless the list is of one user or bill"})
	case r.To.Sub(*r.From) > MaxWindow:
		return problem.InvalidFields(problem.Field{Field: "to", Message: "must be at most 31 days after from"})
	}
	return nil
}

// Unsupported returns the problem for a combination of filters that no index has in
// the list's order. served names those that are.
func Unsupported(served string) error {
	return problem.New(problem.Invalid, "unsupported_filter", "this combination of filters is not supported; this list can be filtered by "+served)
}
