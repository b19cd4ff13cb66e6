package keys

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFileOfKeys(t *testing.T) {
	t.Parallel()
	path, first := newFile(t)
	second, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	ids := func() string {
		t.Helper()
		set, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, key := range set {
			all = append(all, key.ID)
		}
		return strings.Join(all, " ")
	}
	if err := Promote(path, first); err != nil || ids() != first+" "+second.ID {
		t.Errorf("the signing key promoted again: %v, keys %s", err, ids())
	}
	if err := Promote(path, "other"); err == nil || !strings.Contains(err.Error(), "no key other") {
		t.Errorf("promote an unknown key: %v", err)
	}
	if err := Remove(path, "other"); err == nil || !strings.Contains(err.Error(), "no key other") {
		t.Errorf("remove an unknown key: %v", err)
	}
	if err := Remove(path, first); err == nil || !strings.Contains(err.Error(), "promote another key first") {
		t.Errorf("remove the signing key: %v", err)
	}
	// Two processes that make the file at the same time must not lose a key.
	set, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(path, set[:1], 0o600, os.Link); !errors.Is(err, os.ErrExist) || ids() != first+" "+second.ID {
		t.Errorf("written over an existing file: %v, keys %s", err, ids())
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("a temporary file was left behind: %v, %v", entries, err)
	}
}

// The file may be replaced by another one of the same size and time, or changed without
// changing its size.
func TestRingSeesEveryChange(t *testing.T) {
	t.Parallel()
	path, first := newFile(t)
	if _, err := Add(path); err != nil {
		t.Fatal(err)
	}
	ring, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	id := first
	promoteOther := func() []byte {
		t.Helper()
		set, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		id = set[1].ID
		text, err := Set{set[1], set[0]}.encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for what, change := range map[string]func(text []byte, was time.Time) error{
		"written in place": func(text []byte, was time.Time) error {
			return errors.Join(os.WriteFile(path, text, 0o600), os.Chtimes(path, was, was.Add(time.Second)))
		},
		"another file": func(text []byte, was time.Time) error {
			return errors.Join(os.WriteFile(path+".new", text, 0o600), os.Chtimes(path+".new", was, was), os.Rename(path+".new", path))
		},
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(promoteOther(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		ring.poll(t.Context())
		if signing, _ := ring.signing(); signing != id {
			t.Errorf("%s: %s signs, want %s", what, signing, id)
		}
	}
}
