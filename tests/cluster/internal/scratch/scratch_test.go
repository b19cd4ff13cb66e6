package scratch

import (
	"errors"
	"os"
	"testing"
)

func TestDirectoriesOfEndedRunsAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	running, err := New()
	if err != nil {
		t.Fatal(err)
	}
	killed, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.lock.Close(); err != nil { // as the kernel does, when a process ends
		t.Fatal(err)
	}
	next, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(killed.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left of a run that has ended: %v", killed.Path, err)
	}
	for _, d := range []*Dir{running, next} {
		if _, err := os.Stat(d.Path); err != nil {
			t.Error("of a run that goes on:", err)
		}
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is not removed: %v", d.Path, err)
		}
	}
}
