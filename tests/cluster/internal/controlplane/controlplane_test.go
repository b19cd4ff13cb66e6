package controlplane

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAProgramThatEndsIsToldWithItsLog(t *testing.T) {
	t.Parallel()
	programs := t.TempDir()
	for name, script := range map[string]string{"etcd": "echo no space left; exit 3", "kube-apiserver": "exec sleep 60"} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Start(t.Context(), programs, t.TempDir(), "")
	if err == nil || !strings.Contains(err.Error(), "etcd has ended: exit status 3\nno space left") {
		t.Errorf("told was %v", err)
	}
}
