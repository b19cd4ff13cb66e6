// Package books is the contract of the commands catalog books and billing books, and
// compares what they write: every purchase and every refund as catalog has it, and
// every decision on one as billing has it. Each is a line of JSON, purchases first, in
// the order of the ids, between a first line that names the book and a last line that counts the others.
package books

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Version is the "v" of both books.
const Version = 2

// The names of the books.
const (
	Catalog = "catalog"
	Billing = "billing"
)

// Head is the first line.
type Head struct {
	V    int       `json:"v"`
	Book string    `json:"book"`
	At   time.Time `json:"at"` // the state that was read
}

// Entry is a purchase, or a refund of one if RefundID is set. UserID, BillID and Minor are 0 where billing could not read the
// request.
type Entry struct {
	RefundID      string `json:"refund_id,omitempty"`
	PurchaseID    string `json:"purchase_id"`
	UserID        int64  `json:"user_id"`
	BillID        int64  `json:"bill_id"`
	Minor         int64  `json:"minor"`   // the price, or what is refunded, in minor units
	Outcome       string `json:"outcome"` // settled (also of a refund), or why it was declined; only in catalog: pending
	TransactionID int64  `json:"transaction_id,omitempty"`
	// Due means that the purchase has expired more than an hour ago, or that the refund is
	// older than that, so that both books must agree on it. Only in catalog.
	Due bool `json:"due,omitempty"`
}

// key is what entries are in the order of: refunds come after all purchases.
func (e Entry) key() string {
	if e.RefundID != "" {
		return "refund " + e.RefundID
	}
	return e.PurchaseID
}

// Outcomes that this package knows.
const (
	Settled = "settled"
	Pending = "pending"
)

// end is the last line.
type end struct {
	End   bool  `json:"end"`
	Items int64 `json:"items"`
}

// Writer writes a book.
type Writer struct {
	buffer *bufio.Writer
	json   *json.Encoder
	items  int64
}

// NewWriter returns a Writer that has written the first line.
func NewWriter(out io.Writer, book string, at time.Time) (*Writer, error) {
	w := &Writer{buffer: bufio.NewWriterSize(out, 64<<10)}
	w.json = json.NewEncoder(w.buffer)
	if err := w.json.Encode(Head{Version, book, at.UTC()}); err != nil {
		return nil, fmt.Errorf("write the books: %w", err)
	}
	// The reader starts the other book when it has this line.
	return w, w.flush()
}

// Write writes an entry.
func (w *Writer) Write(e Entry) error {
	w.items++
	if err := w.json.Encode(e); err != nil {
		return fmt.Errorf("write the books: %w", err)
	}
	return nil
}

// Close writes the last line. It does not close the output.
func (w *Writer) Close() error {
	if err := w.json.Encode(end{true, w.items}); err != nil {
		return fmt.Errorf("write the books: %w", err)
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if err := w.buffer.Flush(); err != nil {
		return fmt.Errorf("write the books: %w", err)
	}
	return nil
}

// Reader reads a book.
type Reader struct {
	Head Head

	lines *bufio.Scanner
	last  string // the key of the last entry
	items int64
}

// NewReader reads the first line, and fails if it is not that of the book.
func NewReader(in io.Reader, book string) (*Reader, error) {
	r := &Reader{lines: bufio.NewScanner(in)}
	if !r.lines.Scan() {
		return nil, errors.Join(fmt.Errorf("%s's books are empty", book), r.lines.Err())
	}
	if err := json.Unmarshal(r.lines.Bytes(), &r.Head); err != nil || r.Head.Book != book {
		return nil, fmt.Errorf("these are not the books of %s: they begin with %.60q", book, r.lines.Text())
	}
	if r.Head.V != Version {
		return nil, fmt.Errorf("%s's books have version %d, and this program reads version %d: use that of the same release", book, r.Head.V, Version)
	}
	return r, nil
}

// Next returns the next entry, and io.EOF after the last one. A book that was cut off
// is an error.
func (r *Reader) Next() (Entry, error) {
	var line struct {
		Entry
		end
	}
	if !r.lines.Scan() {
		return Entry{}, errors.Join(fmt.Errorf("%s's books end after %d entries, without their last line: the command was interrupted", r.Head.Book, r.items), r.lines.Err())
	}
	if err := json.Unmarshal(r.lines.Bytes(), &line); err != nil {
		return Entry{}, fmt.Errorf("%s's books can't be read after %d entries: %w", r.Head.Book, r.items, err)
	}
	if line.End {
		if line.Items != r.items {
			return Entry{}, fmt.Errorf("%s's books have %d entries, but count %d", r.Head.Book, r.items, line.Items)
		}
		return Entry{}, io.EOF
	}
	if line.key() <= r.last {
		return Entry{}, fmt.Errorf("%s's books are not in order: %q comes after %q", r.Head.Book, line.key(), r.last)
	}
	r.items, r.last = r.items+1, line.key()
	return line.Entry, nil
}
