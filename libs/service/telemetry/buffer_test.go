package telemetry_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"lavka/libs/service/telemetry"
	"lavka/libs/testkit/waittest"
)

// pipe counts what is written to it.
type pipe struct {
	mu     sync.Mutex
	text   bytes.Buffer
	writes int
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	return p.text.Write(b)
}

func (p *pipe) seen() (lines, writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.text.String(), "\n"), p.writes
}

func TestManyLinesAreOneWrite(t *testing.T) {
	t.Parallel()
	out := &pipe{}
	w, flush := telemetry.Buffered(out)
	log, err := telemetry.NewLogger(w, "shop", "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		log.With("a", 1).WithGroup("g").Info("request")
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	if lines, writes := out.seen(); lines != 2000 || writes > 200 {
		t.Errorf("%d lines in %d writes, want 2000 lines in at most 200 writes", lines, writes)
	}
	for line := range strings.Lines(out.text.String()) {
		if !strings.HasPrefix(line, `{"time"`) || !strings.HasSuffix(line, "}\n") {
			t.Fatalf("a line is not whole: %q", line)
		}
	}
}

func TestImportantLinesAreWrittenAtOnce(t *testing.T) {
	t.Parallel()
	out := &pipe{}
	w, flush := telemetry.Buffered(out)
	log, err := telemetry.NewLogger(w, "shop", "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.With("a", 1).Warn("the disk is full")
	if lines, _ := out.seen(); lines != 1 {
		t.Errorf("%d lines written after a warning, want 1", lines)
	}
	log.Info("request")
	waittest.Eventually(t, "an info line is written too", func() bool { lines, _ := out.seen(); return lines == 2 })
	if err := flush(); err != nil {
		t.Error(err)
	}
}
