package traces

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

var begin = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

func id(n int, size int) []byte {
	b := make([]byte, size)
	b[size-1], b[size-2] = byte(n), byte(n>>8)
	return b
}

// span returns the n-th span of a trace, n milliseconds after its start.
func span(traceID, n, parent int, name string) *trace.Span {
	s := &trace.Span{
		TraceId: id(traceID, 16), SpanId: id(n, 8), Name: name, Kind: trace.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(begin.Add(time.Duration(n) * time.Millisecond).UnixNano()),
		EndTimeUnixNano:   uint64(begin.Add(time.Duration(n+2) * time.Millisecond).UnixNano()),
	}
	if parent > 0 {
		s.ParentSpanId = id(parent, 8)
	}
	return s
}

func of(service string, spans ...*trace.Span) []*trace.ResourceSpans {
	return []*trace.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: []*common.KeyValue{attr("service.name", service)}},
		ScopeSpans: []*trace.ScopeSpans{{Spans: spans}},
	}}
}

func attr(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

func hexID(n int) string { return fmt.Sprintf("%032x", n) }

func TestStoredTracesAreReturned(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(Handler(NewStore()))
	defer s.Close()
	purchase, refused := span(1, 1, 0, buying), span(2, 9, 0, buying) // the second bought nothing
	purchase.Attributes = []*common.KeyValue{attr(bought, "01a20a47-504a-7759-b295-5f4d6f836fdc")}
	data, err := proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: of("catalog", purchase, span(1, 2, 1, "insert group"), refused)})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(data); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	send := func(body []byte, kind, encoding string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/v1/traces", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	get := func(id string) (status int, spans []Span) {
		t.Helper()
		resp, err := http.Get(s.URL + "/traces/" + id)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&spans); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, spans
	}
	if status, _ := get("latest"); status != 404 {
		t.Errorf("the latest of none: %d", status)
	}
	for _, bad := range []struct {
		body           []byte
		kind, encoding string
		want           int
	}{
		{data, "application/json", "", 415},
		{data, "", "", 415},
		{[]byte("no protobuf"), "application/x-protobuf", "", 400},
		{data, "application/x-protobuf", "gzip", 400},
		{make([]byte, maxBody+1), "application/x-protobuf", "", 413},
		{bomb(t), "application/x-protobuf", "gzip", 413},
	} {
		if got := send(bad.body, bad.kind, bad.encoding); got != bad.want {
			t.Errorf("%d bytes of %q, %q: %d, want %d", len(bad.body), bad.kind, bad.encoding, got, bad.want)
		}
	}
	if status := send(data, "application/x-protobuf", ""); status != 200 {
		t.Fatal(status)
	}
	if status, spans := get(hexID(1)); status != 200 || len(spans) != 2 || spans[1].ParentID != spans[0].ID || spans[0].Service != "catalog" {
		t.Errorf("%d %+v", status, spans)
	}
	if status := send(packed.Bytes(), "application/x-protobuf", "gzip"); status != 200 {
		t.Fatal(status)
	}
	if status, spans := get("latest"); status != 200 || len(spans) != 4 {
		t.Errorf("%d %+v", status, spans)
	}
	if status, _ := get(hexID(3)); status != 404 {
		t.Errorf("an unknown one: %d", status)
	}
}

// The trace of a purchase is that of the request that made it or, if that is not kept, the oldest related one.
func TestTheTraceOfAPurchase(t *testing.T) {
	t.Parallel()
	s := NewStore()
	const purchase = "01a20a47-504a-7759-b295-5f4d6f836fdc"
	about := func(traceID, n int, name string, more ...*common.KeyValue) {
		sp := span(traceID, n, 0, name)
		sp.Attributes = append(more, attr(bought, purchase))
		s.Add(of("catalog", sp))
	}
	want := func(id string) {
		t.Helper()
		if spans, err := s.Purchase(strings.ToUpper(purchase)); err != nil || spans[0].TraceID != id {
			t.Errorf("%v, %+v, want %s", err, spans, id)
		}
	}
	s.Add(of("catalog", span(9, 1, 0, buying)))
	if _, err := s.Purchase(purchase); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown purchase: %v", err)
	}
	about(1, 40, "process purchases.requested")
	want(hexID(1))
	about(2, 30, buying, &common.KeyValue{Key: "lavka.repeat", Value: &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: true}}})
	want(hexID(2))
	about(3, 50, buying)
	want(hexID(3))

	server := httptest.NewServer(Handler(s))
	defer server.Close()
	for id, status := range map[string]int{purchase: 200, "1": 404} {
		resp, err := http.Get(server.URL + "/traces/purchases/" + id)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", id, resp.StatusCode, status)
		}
	}
}

// bomb returns a small body that is too large when uncompressed.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(make([]byte, maxBody+1)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The store stays within its limits, and evicts the oldest traces first.
func TestTheStoreIsBounded(t *testing.T) {
	t.Parallel()
	s := NewStore()
	for n := range maxOfTrace + 10 {
		s.Add(of("catalog", span(1, n+1, 0, "x")))
	}
	if spans, err := s.Trace(hexID(1)); err != nil || len(spans) != maxOfTrace {
		t.Errorf("%d spans of one trace, %v", len(spans), err)
	}
	const others = maxSpans - maxOfTrace + 1
	for n := range others {
		s.Add(of("catalog", span(n+2, 1, 0, "x")))
	}
	if _, err := s.Trace(hexID(1)); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest: %v", err)
	}
	if _, err := s.Trace(hexID(others + 1)); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if s.spans > maxSpans || len(s.traces) != len(s.order) {
		t.Errorf("%d spans, %d traces, %d in order", s.spans, len(s.traces), len(s.order))
	}
}

// The tree as it is printed, with a parent that is the client's, a step that is
// linked, one that failed, and a link to another trace.
func TestPrintedTree(t *testing.T) {
	t.Parallel()
	root, group, process, failed := span(1, 1, 99, buying), span(1, 2, 1, "insert group"), span(1, 3, 1, "process purchases.requested"), span(1, 4, 3, "settle group")
	root.EndTimeUnixNano = uint64(begin.Add(11 * time.Millisecond).UnixNano())
	root.Attributes = []*common.KeyValue{
		{Key: "http.response.status_code", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 201}}},
		attr("lavka.outcome", "completed"), attr("lavka.bill_id", "7"), attr("other", "x"),
	}
	process.Attributes = []*common.KeyValue{{Key: "lavka.repeat", Value: &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: true}}}}
	process.Links = []*trace.Span_Link{{TraceId: id(1, 16), SpanId: id(2, 8)}, {TraceId: id(2, 16), SpanId: id(1, 8)}}
	failed.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR, Message: "no answer"}
	s := NewStore()
	s.Add(of("billing", process, failed))
	s.Add(of("catalog", group, root))
	spans, err := s.Trace(hexID(1))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Write(&out, spans); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), "\n\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !strings.HasPrefix(out.String(), "trace "+hexID(1)+", ") || !strings.Contains(out.String(), "10.00 ms, 4 steps") {
		t.Errorf("%s", &out)
	}
	if err := Write(&out, nil); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

const want = `       at      took
  0.00 ms  10.00 ms  ████████████████████████  catalog  POST /purchases  (201, completed, bill 7)
  1.00 ms   2.00 ms  ··██████················  catalog    insert group
  2.00 ms   2.00 ms  ····██████··············  billing    process purchases.requested  (repeat)
                                                            ↔ insert group, above or below
                                                            ↔ trace 00000000000000000000000000000002
  3.00 ms   2.00 ms  ·······██████···········  billing      settle group  (FAILED no answer)
`
