package export_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lavka/libs/domain/problem"
	"lavka/libs/service/bytelimit"
	"lavka/libs/service/connlimit"
	"lavka/libs/service/export"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type item struct {
	ID    int    `json:"id"`
	Title string `json:"title"`
}

var table = export.Table[item]{
	Item: func(i item) any { return i },
	Columns: []export.Column[item]{
		{Name: "id", Value: func(i item) export.Cell { return export.Value(i.ID) }},
		{Name: "title", Value: func(i item) export.Cell { return export.Text(i.Title) }},
	},
}

// items returns the pages of a list of n items with ids from n down to 1.
func items(n int, title string) func(context.Context, *item, int) ([]item, error) {
	return func(ctx context.Context, after *item, limit int) (page []item, _ error) {
		if err := ctx.Err(); err != nil { // as a database says
			return nil, err
		}
		next := n
		if after != nil {
			next = after.ID - 1
		}
		for ; next > 0 && len(page) < limit; next-- {
			page = append(page, item{next, title})
		}
		return page, nil
	}
}

func newExporter(caller func(context.Context) int64, pageTimeout time.Duration) *export.Exporter {
	return export.New(caller, pageTimeout, prometheus.NewRegistry())
}

func one(context.Context) int64 { return 1 }

func TestAccepted(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": "", "*/*": "", "application/json": "", "text/*": "", "text/html": "", "text/csv": export.CSV, "application/x-ndjson": export.NDJSON, "Text/CSV; charset=utf-8": export.CSV,
		"text/csv, */*": export.CSV, "application/json, text/csv": "", "application/json;q=0.5, text/csv": export.CSV, "text/csv;q=0.5, application/json": "", "text/csv;q=0": "",
		"text/html, application/x-ndjson;q=0.9, */*;q=0.1": export.NDJSON, "text/csv;q=x": "", ";;, text/csv": export.CSV,
	} {
		if got := export.Accepted([]string{accept}); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
	if got := export.Accepted([]string{"text/html", "text/csv"}); got != export.CSV {
		t.Errorf("two lines: %q", got)
	}
}

func TestWhole(t *testing.T) {
	t.Parallel()
	if err := export.Whole(nil, nil); err != nil {
		t.Error(err)
	}
	for _, err := range []error{export.Whole(new(1), nil), export.Whole(nil, new(""))} {
		if problem.From(err).Code != "validation_failed" {
			t.Error(err)
		}
	}
}

// The whole of a small export in each format. Only texts are defused.
func TestFormats(t *testing.T) {
	t.Parallel()
	rows := []item{{-5, `say "hi", twice`}, {4, "=1+1"}, {3, "+1"}, {2, "-1"}, {1, "@x"}, {0, "\tx"}, {7, "\rx"}, {8, ""}, {9, "a=1\nb"}, {10, "чай"}}
	for format, want := range map[string]string{
		export.CSV: "id,title\r\n-5,\"say \"\"hi\"\", twice\"\r\n4,'=1+1\r\n3,'+1\r\n2,'-1\r\n1,'@x\r\n0,'\tx\r\n7,\"'x\"\r\n8,\r\n9,\"a=1\r\nb\"\r\n10,чай\r\n#end,10\r\n",
		export.NDJSON: `{"id":-5,"title":"say \"hi\", twice"}` + "\n" + `{"id":4,"title":"=1+1"}` + "\n" + `{"id":3,"title":"+1"}` + "\n" + `{"id":2,"title":"-1"}` + "\n" + `{"id":1,"title":"@x"}` + "\n" +
			`{"id":0,"title":"\tx"}` + "\n" + `{"id":7,"title":"\rx"}` + "\n" + `{"id":8,"title":""}` + "\n" + `{"id":9,"title":"a=1\nb"}` + "\n" + `{"id":10,"title":"чай"}` + "\n" + `{"end":true,"items":10}` + "\n",
	} {
		w := httptest.NewRecorder()
		err := export.Write(export.With(t.Context(), format, false), newExporter(one, 0), w, table, func(context.Context, *item, int) ([]item, error) { return rows, nil })
		if err != nil || w.Body.String() != want || !strings.HasPrefix(w.Header().Get("Content-Type"), format) {
			t.Errorf("%s: %q, want %q; %v %v", format, w.Body, want, w.Header(), err)
		}
	}
	if o := fmt.Sprint(export.Optional[int](nil), export.Optional(new(5)), export.OptionalTime(nil), export.OptionalTime(new(time.Unix(0, 5000).In(time.FixedZone("", 3600))))); !strings.Contains(o, "1970-01-01T00:00:00.000005Z") {
		t.Error(o)
	}
}

// Each item is there once, however many there are, and the last record counts them.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 999, 1000, 1001, 2000, 2500} {
		w := httptest.NewRecorder()
		if err := export.Write(export.With(t.Context(), export.CSV, false), newExporter(one, 0), w, table, items(n, "x")); err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(w.Body)
		r.FieldsPerRecord = -1
		records, err := r.ReadAll()
		if err != nil || len(records) != n+2 {
			t.Fatalf("%d items: %d records, %v", n, len(records), err)
		}
		for i := range n {
			if records[i+1][0] != fmt.Sprint(n-i) {
				t.Fatalf("%d items: record %d is %v", n, i, records[i+1])
			}
		}
		if end := fmt.Sprint(records[n+1]); end != fmt.Sprintf("[#end %d]", n) {
			t.Errorf("%d items: the end is %s", n, end)
		}
	}
}

// A user has two exports at once, a replica eight. One that is over makes room.
func TestLimits(t *testing.T) {
	t.Parallel()
	type caller struct{}
	e := newExporter(func(ctx context.Context) int64 { return ctx.Value(caller{}).(int64) }, 0)
	release := make(chan struct{})
	var running sync.WaitGroup
	start := func(user int64) error {
		t.Helper()
		begun := make(chan error, 2)
		running.Go(func() {
			ctx := export.With(context.WithValue(t.Context(), caller{}, user), export.CSV, false)
			w := &stalling{counter{header: http.Header{}}, begun, release}
			begun <- export.Write(ctx, e, w, table, items(10, "x"))
		})
		return <-begun
	}
	code := func(err error) string {
		if err == nil {
			return ""
		}
		return problem.From(err).Code
	}
	for user := range int64(4) {
		for n, want := range []string{"", "", "too_many_exports"} {
			if got := code(start(user)); got != want {
				t.Errorf("export %d of user %d: %q, want %q", n, user, got, want)
			}
		}
	}
	if got := code(start(5)); got != "overloaded" {
		t.Errorf("the ninth: %q", got)
	}
	close(release)
	running.Wait()
	for range 2 {
		if err := start(1); err != nil {
			t.Errorf("later: %v", err)
		}
	}
	running.Wait()
}

// serve serves an export on a real port, behind the limit on connections.
func serve(t *testing.T, e *export.Exporter, next func(context.Context, *item, int) ([]item, error), failed func(error)) string {
	t.Helper()
	s := &http.Server{ReadTimeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failed(export.Write(export.With(r.Context(), export.NDJSON, r.Method == http.MethodHead), e, w, table, next))
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(connlimit.Bound(s, l, 10)) }()
	t.Cleanup(func() { s.Close(); <-served })
	return l.Addr().String()
}

// read asks for an export and reads it as a client does that takes some bytes at a time,
// and waits before the next. It returns what it got, without the header, and whether
// that was a whole response.
func read(t *testing.T, addr string, wait time.Duration, each int) (lines int, last string, whole bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	slow := &paced{r: conn, wait: wait, each: each}
	resp, err := http.ReadResponse(bufio.NewReaderSize(slow, 64<<10), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	for {
		line, err := body.ReadString('\n')
		if err != nil {
			return lines, last, errors.Is(err, io.EOF) && line == ""
		}
		lines, last = lines+1, line
	}
}

type paced struct {
	r          io.Reader
	wait       time.Duration
	each, read int
}

func (p *paced) Read(b []byte) (int, error) {
	if p.read >= p.each {
		p.read = 0
		time.Sleep(p.wait) // the client that is tested
	}
	n, err := p.r.Read(b)
	p.read += n
	return n, err
}

// A page that is taken within the limit passes, however long the whole takes, and one that is not is
// the end.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const n = 12_000
	title := strings.Repeat("x", 1000)
	for what, c := range map[string]struct {
		limit, wait time.Duration
		each        int // bytes; a page has a megabyte
		whole       bool
	}{
		"fast":                        {time.Second, 0, 1 << 20, true},
		"a page in half the limit":    {time.Second, 500 * time.Millisecond, 1 << 20, true},
		"two pages, then none":        {time.Second, 1600 * time.Millisecond, 2 << 20, true}, // as a proxy with buffers of megabytes
		"a page in twice the limit":   {time.Second, 2 * time.Second, 1 << 20, false},
		"a page bit by bit, too late": {time.Second, 400 * time.Millisecond, 1 << 17, false},
		"longer than other requests":  {connlimit.Stall + 5*time.Second, connlimit.Stall + 2*time.Second, 1 << 20, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			outcome := make(chan error, 1)
			total := n
			if c.wait > connlimit.Stall {
				total = 1500
			}
			addr := serve(t, newExporter(one, c.limit), items(total, title), func(err error) { outcome <- err })
			lines, last, whole := read(t, addr, c.wait, c.each)
			if whole != c.whole || (strings.HasPrefix(last, `{"end":true`) && lines == total+1) != c.whole {
				t.Errorf("%d lines, whole: %v, the last: %.40s", lines, whole, last)
			}
			if err := <-outcome; (err == nil) != c.whole {
				t.Errorf("%v", err)
			}
		})
	}
}

// While the database is busy, a page is read again. Any other error breaks the
// connection off.
func TestFailingReads(t *testing.T) {
	t.Parallel()
	busy := problem.New(problem.Unavailable, "overloaded", "busy")
	for what, c := range map[string]struct {
		err   error
		times int64
		whole bool
	}{"busy for a while": {busy, 3, true}, "busy for too long": {busy, 1 << 40, false}, "broken": {errors.New("broken"), 1, false}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var failures atomic.Int64
			list := items(2500, "x")
			outcome := make(chan error, 1)
			addr := serve(t, newExporter(one, 2*time.Second), func(ctx context.Context, after *item, limit int) ([]item, error) {
				if after != nil && failures.Add(1) <= c.times {
					return nil, c.err
				}
				return list(ctx, after, limit)
			}, func(err error) { outcome <- err })
			lines, last, whole := read(t, addr, 0, 1<<20)
			if whole != c.whole || strings.HasPrefix(last, `{"end":true`) != c.whole || c.whole && lines != 2501 {
				t.Errorf("%d lines, whole: %v, the last: %s", lines, whole, last)
			}
			if err := <-outcome; (err == nil) != c.whole {
				t.Errorf("%v", err)
			}
		})
	}
	failed := export.Write(export.With(t.Context(), export.CSV, false), newExporter(one, 0), httptest.NewRecorder(), table, func(context.Context, *item, int) ([]item, error) { return nil, busy })
	if !errors.Is(failed, busy) {
		t.Errorf("the first page: %v", failed)
	}
	w := httptest.NewRecorder()
	if err := export.Write(export.With(t.Context(), export.CSV, true), newExporter(one, 0), w, table, func(context.Context, *item, int) ([]item, error) { return nil, busy }); err != nil || w.Body.Len() > 0 || w.Code != 200 || w.Header().Get("Content-Type") == "" {
		t.Errorf("HEAD: %d %q %v", w.Code, w.Body, err)
	}
}

// What the rows of a page hold of the memory for large responses is given back with each
// page.
func TestPagesGiveBackWhatTheyHold(t *testing.T) {
	t.Parallel()
	claim := bytelimit.New(8 << 20).Claim("1") // of which one caller gets a megabyte
	defer claim.Close()
	list := items(5000, "x")
	err := export.Write(export.With(bytelimit.With(t.Context(), claim), export.CSV, false), newExporter(one, 0), httptest.NewRecorder(), table, func(ctx context.Context, after *item, limit int) ([]item, error) {
		if err := bytelimit.From(ctx).Grow(700 << 10); err != nil {
			return nil, fmt.Errorf("%v", err) // not to be retried
		}
		return list(ctx, after, limit)
	})
	if err != nil {
		t.Error(err)
	}
}

// An export is ended when its client leaves.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	outcome := make(chan error, 1)
	addr := serve(t, newExporter(one, time.Minute), items(1<<40, strings.Repeat("x", 1000)), func(err error) { outcome <- err })
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if err == nil {
		_, err = conn.Read(make([]byte, 100))
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-outcome; err == nil {
		t.Error("the export is complete")
	}
}

// A replica holds a page of an export at a time, not the export.
func TestMemoryIsConstant(t *testing.T) {
	// Not parallel: it measures the heap.
	const n = 100_000
	title := strings.Repeat("x", 100)
	var highest uint64
	measure := func() {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		highest = max(highest, m.HeapAlloc)
	}
	measure()
	before := highest
	list, pages := items(n, title), 0
	next := func(ctx context.Context, after *item, limit int) ([]item, error) {
		if pages++; pages%20 == 0 {
			measure()
		}
		return list(ctx, after, limit)
	}
	w := &counter{header: http.Header{}}
	if err := export.Write(export.With(t.Context(), export.NDJSON, false), newExporter(one, 0), w, table, next); err != nil {
		t.Fatal(err)
	}
	const most = 4 << 20
	if w.lines != n+1 || highest-before > most {
		t.Errorf("%d lines, %d bytes more than before, want at most %d", w.lines, highest-before, most)
	}
}

type counter struct {
	header http.Header
	lines  int
}

// stalling takes nothing until it is released.
type stalling struct {
	counter
	begun   chan error
	release chan struct{}
}

func (s *stalling) Write(b []byte) (int, error) {
	s.begun <- nil
	<-s.release
	return s.counter.Write(b)
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Flush()              {}
func (c *counter) Write(b []byte) (int, error) {
	c.lines += bytes.Count(b, []byte("\n"))
	return len(b), nil
}
