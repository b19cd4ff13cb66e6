// Package traces keeps the shop's recent traces in memory. It receives them as a
// collector does (OTLP/HTTP 1.x, https://opentelemetry.io/docs/specs/otlp/), and
// prints one as a tree.
package traces

import (
	"cmp"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Span is one step of a trace.
type Span struct {
	TraceID    string            `json:"trace_id"`
	ID         string            `json:"id"`
	ParentID   string            `json:"parent_id,omitempty"` // "" for the first; the parent may be missing here
	Service    string            `json:"service"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind"` // server, client, producer, consumer or internal
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Failed     bool              `json:"failed,omitempty"`
	Failure    string            `json:"failure,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Links      []Link            `json:"links,omitempty"`
}

// Link refers to a related span of the same trace or of another one.
type Link struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// ErrUnknown means that a trace was never received, or has been evicted.
var ErrUnknown = errors.New("no such trace is kept")

// maxSpans is the number of spans kept, about a kilobyte each. maxOfTrace limits one
// trace: a client can put all its requests into one.
const (
	maxSpans   = 50_000
	maxOfTrace = 1_000
)

// Store keeps the most recent traces.
type Store struct {
	mu     sync.Mutex
	spans  int
	traces map[string][]Span
	order  []string // by the arrival of their first span, oldest first
}

// NewStore returns an empty Store.
func NewStore() *Store { return &Store{traces: map[string][]Span{}} }

// Add stores spans, and evicts the oldest traces to make room.
func (s *Store) Add(all []*trace.ResourceSpans) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range all {
		service := attributes(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, sp := range scope.GetSpans() {
				s.add(spanOf(service, sp))
			}
		}
	}
	for s.spans > maxSpans && len(s.order) > 1 {
		s.spans -= len(s.traces[s.order[0]])
		delete(s.traces, s.order[0])
		s.order = s.order[1:]
	}
}

func (s *Store) add(sp Span) {
	known, ok := s.traces[sp.TraceID]
	if len(known) >= maxOfTrace {
		return
	}
	if !ok {
		s.order = append(s.order, sp.TraceID)
	}
	s.traces[sp.TraceID] = append(known, sp)
	s.spans++
}

// Trace returns the spans of a trace in the order of their start, or ErrUnknown.
func (s *Store) Trace(id string) ([]Span, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	spans, ok := s.traces[strings.ToLower(id)]
	if !ok {
		return nil, ErrUnknown
	}
	return sorted(spans), nil
}

// The span by which a purchase is found, and the attribute that it has if a purchase was made.
const (
	buying = "POST /purchases"
	bought = "lavka.purchase_id"
)

// LatestPurchase returns the trace of the request that made or repeated the
// latest purchase, or ErrUnknown.
func (s *Store) LatestPurchase() ([]Span, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var latest Span
	for _, spans := range s.traces {
		for _, sp := range spans {
			if sp.Name == buying && sp.Attributes[bought] != "" && sp.Start.After(latest.Start) {
				latest = sp
			}
		}
	}
	if latest.TraceID == "" {
		return nil, ErrUnknown
	}
	return sorted(s.traces[latest.TraceID]), nil
}

// Purchase returns the trace of the request that made a purchase or, if that one is not
// kept, the oldest trace in which the purchase was repeated, settled or answered. If
// there is none, it returns ErrUnknown.
func (s *Store) Purchase(id string) ([]Span, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first Span
	for _, spans := range s.traces {
		for _, sp := range spans {
			if sp.Attributes[bought] == strings.ToLower(id) && (first.TraceID == "" || makes(sp) && !makes(first) || makes(sp) == makes(first) && sp.Start.Before(first.Start)) {
				first = sp
			}
		}
	}
	if first.TraceID == "" {
		return nil, ErrUnknown
	}
	return sorted(s.traces[first.TraceID]), nil
}

// makes reports whether a span is the request that made a purchase, and not a retry of it.
func makes(sp Span) bool { return sp.Name == buying && sp.Attributes["lavka.repeat"] != "true" }

func sorted(spans []Span) []Span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.ID, b.ID)) })
	return spans
}

func spanOf(service string, sp *trace.Span) Span {
	out := Span{
		TraceID: hex.EncodeToString(sp.GetTraceId()), ID: hex.EncodeToString(sp.GetSpanId()), ParentID: hex.EncodeToString(sp.GetParentSpanId()),
		Service: service, Name: sp.GetName(), Kind: strings.ToLower(strings.TrimPrefix(sp.GetKind().String(), "SPAN_KIND_")),
		Start: time.Unix(0, int64(sp.GetStartTimeUnixNano())), End: time.Unix(0, int64(sp.GetEndTimeUnixNano())),
		Failed: sp.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Failure: sp.GetStatus().GetMessage(),
		Attributes: attributes(sp.GetAttributes()),
	}
	for _, l := range sp.GetLinks() {
		out.Links = append(out.Links, Link{TraceID: hex.EncodeToString(l.GetTraceId()), SpanID: hex.EncodeToString(l.GetSpanId())})
	}
	return out
}

func attributes(all []*common.KeyValue) map[string]string {
	out := make(map[string]string, len(all))
	for _, kv := range all {
		out[kv.GetKey()] = text(kv.GetValue())
	}
	return out
}

func text(v *common.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *common.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *common.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	}
	return v.String() // lists, for example
}
