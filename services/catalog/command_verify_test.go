package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lavka/libs/contract/books"
	"lavka/libs/service/program"
	"lavka/libs/testkit/waittest"
)

// verifications returns how many runs are recorded, and their difference.
func (s *shop) verifications(t *testing.T) (n int, difference string) {
	t.Helper()
	if err := s.owner.QueryRow(t.Context(), `SELECT count(*), coalesce(max(difference), '') FROM catalog.verifications`).Scan(&n, &difference); err != nil {
		t.Fatal(err)
	}
	return n, difference
}

func (s *shop) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := s.owner.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

const sold = `
	INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, created_at, expires_at, next_send_at, settled_at, status, transaction_id)
	VALUES (gen_random_uuid(), 1, 1, 'tea', 350, 7, now(), now(), now(), now(), 'completed', 42)`

func TestVerifyRecordsItsResult(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	cfg := s.settings(t)
	s.exec(t, sold)
	out, err := runCommand(t, cfg, "verify")
	if n, difference := s.verifications(t); err != nil || out != "catalog's schema is complete, purchases agree with their refunds, and every stock counts up\n" || n != 1 || difference != "" {
		t.Errorf("%q, %v; %d runs, %q", out, err, n, difference)
	}
	s.exec(t, `UPDATE catalog.purchases SET refunded = 50`)
	out, err = runCommand(t, cfg, "verify")
	const found = "shows 0.50 as refunded, and its refunds sum to 0"
	if n, difference := s.verifications(t); err == nil || !strings.Contains(err.Error(), found) || out != "" || n != 2 || !strings.Contains(difference, found) {
		t.Errorf("%q, %v; %d runs, %q", out, err, n, difference)
	}
}

func TestBooksInAFile(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	cfg := s.settings(t)
	s.exec(t, sold)
	file := filepath.Join(t.TempDir(), "catalog")
	out, err := runCommand(t, cfg, "books", file)
	if err != nil || !strings.HasPrefix(out, "catalog's books are in "+file) {
		t.Errorf("%q, %v", out, err)
	}
	read := func() (n int) {
		t.Helper()
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := books.NewReader(f, books.Catalog)
		for err == nil {
			if _, err = r.Next(); err == nil {
				n++
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		return n
	}
	if n := read(); n != 1 {
		t.Errorf("the books have %d entries", n)
	}
	printed, err := runCommand(t, cfg, "books")
	if err != nil || !strings.Contains(printed, `"minor":350,"outcome":"settled","transaction_id":42`) {
		t.Errorf("%s, %v", printed, err)
	}

	// What fails leaves the earlier books, and nothing else.
	s.exec(t, sold+`; REVOKE SELECT ON catalog.refunds FROM catalog`)
	if _, err := runCommand(t, cfg, "books", file); err == nil {
		t.Error("books that can't be read are no error")
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 || read() != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := runCommand(t, cfg, "books", filepath.Join(file, "below")); err == nil || !strings.Contains(err.Error(), "write the books: ") {
		t.Error(err)
	}
	if _, err := runCommand(t, cfg, "books", "a", "b"); err == nil || err.Error() != "usage: books [FILE]" {
		t.Error(err)
	}
}

// The daily run does both tasks once, also if it is started again in the same night.
func TestVerifyDaily(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	cfg := s.settings(t)
	cfg.LogLevel = "info"
	file := filepath.Join(t.TempDir(), "catalog")
	var before time.Time
	for range 2 {
		var log waittest.Text
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- run(ctx, cfg, []string{"verify", "--daily", time.Now().UTC().Add(-time.Hour).Format("15:04"), "--books", file}, program.Streams{Out: io.Discard, Err: &log})
		}()
		waittest.Eventually(t, "both are done", func() bool { return strings.Count(log.String(), "night=") == 2 })
		if _, err := runCommand(t, cfg, "healthcheck"); err != nil {
			t.Errorf("the health check: %v", err)
		}
		stop()
		if err := <-ended; err != nil || strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("%v\n%s", err, log.String())
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if n, difference := s.verifications(t); n != 1 || difference != "" {
			t.Errorf("%d runs, %q", n, difference)
		}
		if !before.IsZero() && !info.ModTime().Equal(before) {
			t.Error("the books were written twice in a night")
		}
		before = info.ModTime()
	}
}
