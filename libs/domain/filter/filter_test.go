package filter_test

import (
	"testing"
	"time"

	"lavka/libs/domain/filter"
	"lavka/libs/domain/problem"
)

func TestRanges(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { return new(begin.Add(d)) }
	for what, c := range map[string]struct {
		from, to      *time.Time
		range_, short string // the field that is wrong
		open          bool
	}{
		"none":             {open: true},
		"from":             {from: at(0), short: "to"},
		"to":               {to: at(0), short: "from"},
		"an hour":          {from: at(0), to: at(time.Hour)},
		"31 days":          {from: at(0), to: at(filter.MaxWindow)},
		"more":             {from: at(0), to: at(filter.MaxWindow + 1), short: "to"},
		"nothing":          {from: at(0), to: at(0), range_: "to"},
		"backwards":        {from: at(1), to: at(0), range_: "to"},
		"before the clock": {to: new(time.Time{}), short: "from"},
	} {
		r, err := filter.NewRange(c.from, c.to)
		if wrong(err) != c.range_ {
			t.Errorf("%s: %v, want %q to be wrong", what, err, c.range_)
		}
		if err != nil {
			continue
		}
		if err := r.Window(); wrong(err) != c.short {
			t.Errorf("%s as a window: %v, want %q to be wrong", what, err, c.short)
		}
		if r.Open() != c.open {
			t.Errorf("%s: open is %v", what, r.Open())
		}
	}
	if p := problem.From(filter.Unsupported("user_id")); p.Code != "unsupported_filter" || p.Kind != problem.Invalid {
		t.Errorf("%+v", p)
	}
}

// wrong returns the field that an error names.
func wrong(err error) string {
	if err == nil {
		return ""
	}
	return problem.From(err).Fields[0].Field
}
