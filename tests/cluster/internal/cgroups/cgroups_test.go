package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestGroupsAreRemovedWithTheirs(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: control groups need root")
	}
	run := fmt.Sprintf("test-%d", os.Getpid())
	path, err := Create(run, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	_, roots, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if err := os.MkdirAll(filepath.Join(root, path, "kubepods/burstable"), 0o755); err != nil {
			t.Error(err)
		}
	}
	if err := Remove(run); err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, all, run)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s has the group still: %v", root, err)
		}
	}
	if err := Remove(run); err != nil {
		t.Errorf("of a run without groups: %v", err)
	}
}
