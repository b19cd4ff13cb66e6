package traces

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// told are the attributes that are worth a place in the tree, and how they are
// called there.
var told = []struct{ attribute, label string }{
	{"http.response.status_code", ""},
	{"lavka.outcome", ""},
	{"lavka.group.size", "items"},
	{"lavka.delivery", "delivery"},
	{"lavka.sent_again", "sent again"},
	{"lavka.repeat", "repeat"},
	{"lavka.purchase_id", "purchase"},
	{"lavka.payment_id", "payment"},
	{"lavka.bill_id", "bill"},
}

const barWidth = 24

// Write shows the spans of one trace: when each began and how long it took, a bar
// for that, the service, the step at its place in the tree, and what came of it.
// A link is told by where it leads.
func Write(w io.Writer, spans []Span) error {
	if len(spans) == 0 {
		return ErrUnknown
	}
	begin, end := spans[0].Start, spans[0].End
	services := 0
	for _, sp := range spans {
		if sp.Start.Before(begin) {
			begin = sp.Start
		}
		if sp.End.After(end) {
			end = sp.End
		}
		services = max(services, utf8.RuneCountInString(sp.Service))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s, %s, %s, %d steps\n\n", spans[0].TraceID, begin.Local().Format("2006-01-02 15:04:05.000"), took(end.Sub(begin)), len(spans))
	fmt.Fprintf(&b, "%9s %9s\n", "at", "took")
	t := tree{begin: begin, all: end.Sub(begin), children: map[string][]Span{}, names: map[string]string{}}
	for _, sp := range spans {
		t.names[sp.ID] = sp.Name
	}
	for _, sp := range spans {
		parent := sp.ParentID
		if t.names[parent] == "" {
			parent = "" // the client's own, or not here yet
		}
		t.children[parent] = append(t.children[parent], sp)
	}
	t.write(&b, "", 0, services)
	_, err := io.WriteString(w, b.String())
	return err
}

type tree struct {
	begin    time.Time
	all      time.Duration
	children map[string][]Span
	names    map[string]string // by id
}

func (t *tree) write(b *strings.Builder, parent string, depth, services int) {
	children := t.children[parent]
	slices.SortStableFunc(children, func(a, b Span) int { return cmp.Compare(a.Start.UnixNano(), b.Start.UnixNano()) })
	for _, sp := range children {
		fmt.Fprintf(b, "%9s %9s  %s  %-*s  %s%s%s\n", took(sp.Start.Sub(t.begin)), took(sp.End.Sub(sp.Start)), t.bar(sp), services, sp.Service,
			strings.Repeat("  ", depth), sp.Name, outcome(sp))
		for _, l := range sp.Links {
			fmt.Fprintf(b, "%*s%s↔ %s\n", 9+1+9+2+barWidth+2+services+2, "", strings.Repeat("  ", depth+1), t.linked(sp, l))
		}
		t.write(b, sp.ID, depth+1, services)
	}
}

func (t *tree) linked(sp Span, l Link) string {
	if l.TraceID != sp.TraceID {
		return "trace " + l.TraceID
	}
	return cmp.Or(t.names[l.SpanID], "step "+l.SpanID) + ", above or below"
}

// bar shows when within the whole trace a step was under way.
func (t *tree) bar(sp Span) string {
	at := func(when time.Time) int {
		if t.all <= 0 {
			return 0
		}
		return min(int(int64(barWidth)*int64(when.Sub(t.begin))/int64(t.all)), barWidth-1)
	}
	from, to := at(sp.Start), at(sp.End)
	return strings.Repeat("·", from) + strings.Repeat("█", to-from+1) + strings.Repeat("·", barWidth-1-to)
}

func outcome(sp Span) string {
	var parts []string
	for _, a := range told {
		switch value := sp.Attributes[a.attribute]; {
		case value == "" || value == "false":
		case value == "true":
			parts = append(parts, a.label)
		case a.label == "":
			parts = append(parts, value)
		default:
			parts = append(parts, a.label+" "+value)
		}
	}
	if sp.Failed {
		parts = append(parts, strings.TrimSpace("FAILED "+sp.Failure))
	}
	if len(parts) == 0 {
		return ""
	}
	return "  (" + strings.Join(parts, ", ") + ")"
}

func took(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	default:
		return d.Round(100 * time.Millisecond).String()
	}
}
