package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"lavka/deploy/local/stack"
	"lavka/deploy/local/traces"
	"lavka/libs/testkit/waittest"
)

// collector receives a shop's traces, as any OTLP/HTTP collector does, and keeps each
// export unchanged, to search it for secrets.
type collector struct {
	url   string
	store *traces.Store

	server *http.Server
	mu     sync.Mutex
	file   *os.File
}

func startCollector(file string) (*collector, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{url: "http://" + l.Addr().String(), store: traces.NewStore()}
	if c.file, err = os.Create(file); err != nil {
		return nil, err
	}
	c.server = traces.NewServer(c.store)
	next := c.server.Handler
	c.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = c.keep(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
	go func() { _ = c.server.Serve(l) }() // ends with Close
	return c, nil
}

func (c *collector) keep(body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.file.Write(body)
	return err
}

// environment makes services export all traces here, within 100 ms.
func (c *collector) environment() map[string]string {
	return map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_BSP_SCHEDULE_DELAY": "100",
	}
}

// close stops the collector. It returns an error if an export contains a secret, or if
// there was no export.
func (c *collector) close() error {
	err := errors.Join(c.server.Close(), c.file.Close())
	sent, readErr := os.ReadFile(c.file.Name())
	if len(sent) == 0 {
		err = errors.Join(err, errors.New("no trace was exported"))
	}
	return errors.Join(err, readErr, secrets.in("an exported trace", sent))
}

// want waits until a trace looks as expected. Database spans are left out, and so are
// retries that were not received.
func (c *collector) want(t *testing.T, id, tree string) []traces.Span {
	t.Helper()
	tree = strings.TrimPrefix(strings.ReplaceAll(strings.ReplaceAll(tree+"\n", "\t", ""), "\n\n", "\n"), "\n")
	var got string
	var spans []traces.Span
	defer func() {
		if t.Failed() {
			t.Logf("trace %s: got\n%s\nwant\n%s", id, got, tree)
		}
	}()
	waittest.Eventually(t, "the trace looks as expected", func() bool {
		var err error
		if spans, err = c.store.Trace(id); err != nil {
			return false // not yet
		}
		got = drawn(spans)
		return got == tree
	})
	return spans
}

// drawn returns a trace as a tree with a line for each span: its depth, service, name
// and outcome.
func drawn(spans []traces.Span) string {
	var b strings.Builder
	traces.Walk(spans, func(s traces.Span, depth int, leaf bool) bool {
		if s.Kind == "client" || s.Attributes["lavka.sent_again"] != "" && leaf {
			return false
		}
		fmt.Fprintf(&b, "%s%s %s%s\n", strings.Repeat(". ", depth), s.Service, s.Name, became(s))
		return true
	})
	return b.String()
}

func became(s traces.Span) string {
	var all strings.Builder
	for _, name := range []string{"http.response.status_code", "lavka.outcome"} {
		if v := s.Attributes[name]; v != "" {
			all.WriteString(" " + v)
		}
	}
	for _, name := range []string{"sent_again", "repeat", "delivery"} {
		if s.Attributes["lavka."+name] != "" {
			all.WriteString(" " + name)
		}
	}
	if s.Failed {
		all.WriteString(" FAILED")
	}
	return all.String()
}

// traced starts a shop that exports its traces to the returned collector.
func traced(t *testing.T, change func(*stack.Config)) (*shopUnderTest, *collector) {
	t.Helper()
	c, err := startCollector(t.TempDir() + "/traces")
	must(t, err)
	t.Cleanup(func() { must(t, c.close()) })
	return startShop(t, func(cfg *stack.Config) {
		cfg.Env, cfg.TrustTraceparent = c.environment(), true
		if change != nil {
			change(cfg)
		}
	}), c
}
