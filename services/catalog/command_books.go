package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"lavka/libs/contract/books"
	"lavka/services/catalog/internal/postgres"
)

// runBooks runs the command "books": it writes all purchases and refunds to out, or to
// a file, for a comparison with the ledger (see lavka/libs/contract/books).
func runBooks(ctx context.Context, cfg Config, args []string, out io.Writer) error {
	switch len(args) {
	case 0:
		return withStore(ctx, cfg, "books", func(s *postgres.Store) error { return s.Books(ctx, out) })
	case 1:
		said, err := ask(ctx, cfg, func(s *postgres.Store) (string, error) { return writeBooksTo(ctx, s, args[0]) })
		if err == nil {
			_, err = fmt.Fprintln(out, said)
		}
		return err
	}
	return errors.New("usage: books [FILE]")
}

// writeBooksTo writes the books to a file. Until they are complete, and if that fails,
// the file has the books of before.
func writeBooksTo(ctx context.Context, store *postgres.Store, file string) (string, error) {
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("write the books: %w", err)
	}
	err = store.Books(ctx, f)
	var size int64
	if info, statErr := f.Stat(); statErr == nil {
		size = info.Size()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return fmt.Sprintf("catalog's books are in %s, %d bytes", file, size), nil
}

// writtenSince reports whether a file has books that were read at or after a time.
func writtenSince(file string, since time.Time) (bool, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the books: %w", err)
	}
	defer f.Close()
	r, err := books.NewReader(f, books.Catalog)
	return err == nil && !r.Head.At.Before(since), nil // those of another release are replaced
}
