package traces

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// shown lists the attributes that the tree shows, and their labels there.
var shown = []struct{ attribute, label string }{
	{"http.response.status_code", ""},
	{"lavka.outcome", ""},
	{"lavka.group.size", "items"},
	{"lavka.delivery", "delivery"},
	{"lavka.sent_again", "republished"},
	{"lavka.repeat", "repeat"},
	{"lavka.purchase_id", "purchase"},
	{"lavka.payment_id", "payment"},
	{"lavka.bill_id", "bill"},
}

const barWidth = 24

// Walk visits the spans of one trace, as [Store.Trace] returns them: each before its
// children, and children in the order of their start. If visit returns false, the
// spans below are skipped.
func Walk(spans []Span, visit func(sp Span, depth int, leaf bool) (below bool)) {
	known, children := map[string]bool{}, map[string][]Span{}
	for _, sp := range spans {
		known[sp.ID] = true
	}
	for _, sp := range spans {
		parent := sp.ParentID
		if !known[parent] {
			parent = "" // a span of the client's, or one that has not arrived
		}
		children[parent] = append(children[parent], sp)
	}
	var walk func(parent string, depth int)
	walk = func(parent string, depth int) {
		for _, sp := range children[parent] {
			if visit(sp, depth, len(children[sp.ID]) == 0) {
				walk(sp.ID, depth+1)
			}
		}
	}
	walk("", 0)
}

// Write prints the spans of one trace, as [Store.Trace] returns them: the start and
// duration of each, also as a bar, the service, the step at its place in the tree,
// and the outcome. A link shows where it leads.
func Write(w io.Writer, spans []Span) error {
	if len(spans) == 0 {
		return ErrUnknown
	}
	t := tree{begin: spans[0].Start, names: map[string]string{}}
	services := 0
	for _, sp := range spans {
		t.all = max(t.all, sp.End.Sub(t.begin))
		t.names[sp.ID] = sp.Name
		services = max(services, utf8.RuneCountInString(sp.Service))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "trace %s, %s, %s, %d steps\n\n", spans[0].TraceID, t.begin.Local().Format("2006-01-02 15:04:05.000"), took(t.all), len(spans))
	fmt.Fprintf(&b, "%9s %9s\n", "at", "took")
	Walk(spans, func(sp Span, depth int, _ bool) bool {
		fmt.Fprintf(&b, "%9s %9s  %s  %-*s  %s%s%s\n", took(sp.Start.Sub(t.begin)), took(sp.End.Sub(sp.Start)), t.bar(sp), services, sp.Service,
			strings.Repeat("  ", depth), sp.Name, outcome(sp))
		for _, l := range sp.Links {
			fmt.Fprintf(&b, "%*s%s↔ %s\n", 9+1+9+2+barWidth+2+services+2, "", strings.Repeat("  ", depth+1), t.linked(sp, l))
		}
		return true
	})
	_, err := io.WriteString(w, b.String())
	return err
}

type tree struct {
	begin time.Time
	all   time.Duration
	names map[string]string // by id
}

func (t *tree) linked(sp Span, l Link) string {
	if l.TraceID != sp.TraceID {
		return "trace " + l.TraceID
	}
	return cmp.Or(t.names[l.SpanID], "step "+l.SpanID) + ", above or below"
}

// bar shows when a step ran within the whole trace.
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
	for _, a := range shown {
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
