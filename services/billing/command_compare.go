package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"lavka/libs/contract/books"
	"lavka/libs/service/nightly"
	"lavka/libs/service/program"
	"lavka/libs/service/verification"
	"lavka/services/billing/internal/postgres"
)

// booksAge is how old catalog's books may be. Those of the night before are too old,
// wherever the clock stands.
const booksAge = 12 * time.Hour

// errDiffer means that catalog and billing differ.
var errDiffer = errors.New("catalog and billing differ")

// runCompare runs the command "compare": it compares catalog's books, from a file or
// from standard input, with the ledger.
func runCompare(ctx context.Context, cfg Config, args []string, log *slog.Logger, std program.Streams) error {
	switch {
	case len(args) != 1:
		return errors.New("usage: compare FILE, or compare - for standard input; with what catalog books has written")
	case args[0] != "-":
		return nightly.Once(ctx, []nightly.Task{comparison(cfg, args[0], log)}, std.Out)
	}
	said, err := ask(ctx, cfg, log, func(s *postgres.Store) (string, error) { return compare(ctx, s, std.In, time.Now(), log) })
	if err == nil {
		_, err = fmt.Fprintln(std.Out, said)
	}
	return err
}

// comparison is the task to compare a file of catalog's books with the ledger.
func comparison(cfg Config, file string, log *slog.Logger) nightly.Task {
	return nightly.Task{
		Name: "compare catalog's books",
		Done: func(ctx context.Context, since time.Time) (bool, error) {
			return ask(ctx, cfg, log, func(s *postgres.Store) (bool, error) { return s.Compared(ctx, since) })
		},
		Do: func(ctx context.Context, night time.Time) (string, error) {
			f, err := os.Open(file)
			if errors.Is(err, fs.ErrNotExist) {
				return "", nightly.NotYet(fmt.Errorf("catalog's books are missing: %w", err))
			}
			if err != nil {
				return "", fmt.Errorf("read catalog's books: %w", err)
			}
			defer f.Close()
			return ask(ctx, cfg, log, func(s *postgres.Store) (string, error) { return compare(ctx, s, f, night, log) })
		},
	}
}

// compare compares catalog's books with the ledger, and records the result for the
// metrics. Each difference is logged as an error; there are at most 20.
func compare(ctx context.Context, store *postgres.Store, in io.Reader, night time.Time, log *slog.Logger) (string, error) {
	catalog, err := books.NewReader(in, books.Catalog)
	if err != nil {
		return "", err
	}
	if oldest := night.Add(-booksAge); catalog.Head.At.Before(oldest) {
		return "", nightly.NotYet(fmt.Errorf("catalog's books are from %s, and must be from %s or later: run catalog books again",
			catalog.Head.At.Format(time.RFC3339), oldest.UTC().Format(time.RFC3339)))
	}
	check := func() (string, error) {
		result, err := store.Compare(ctx, catalog)
		if err != nil {
			return "", fmt.Errorf("compare the books: %w", err)
		}
		for _, difference := range result.Differences {
			log.ErrorContext(ctx, errDiffer.Error(), "difference", difference)
		}
		if n := len(result.Differences); n > 0 {
			return "", fmt.Errorf("%w: %s (the first of %d differences in the log)", errDiffer, result.Differences[0], n)
		}
		return fmt.Sprintf("catalog and billing agree on %d purchases and %d refunds", result.Purchases, result.Refunds), nil
	}
	return verification.Check(ctx, log, check, store.RecordComparison, errDiffer)
}
