// Package scripts tests the Makefile and the scripts in .ci, with stand-ins for the programs that they start.
package scripts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// checkout returns a directory that holds only the Makefile and the scripts in .ci. They can't install anything there.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Makefile", ".ci/run", ".ci/check"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		must(t, err)
		write(t, filepath.Join(dir, name), string(text))
	}
	for _, name := range []string{"apt-get", "sudo"} {
		write(t, filepath.Join(dir, "path", name), "#!/bin/sh\necho \"$(basename $0)\" \"$@\"\nexit 1\n")
	}
	for _, module := range modules {
		must(t, os.MkdirAll(filepath.Join(dir, module), 0o755))
	}
	return dir
}

var modules = []string{"libs", "services/auth", "services/catalog", "services/billing", "deploy", "tests"}

// write makes an executable file.
func write(t *testing.T, file, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(text), 0o755))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run starts a program in dir, where stand-ins in dir/path are found before all others.
func run(t *testing.T, dir string, env []string, name string, args ...string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	for _, entry := range os.Environ() {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "LAVKA_DATA", "USER", "BILL", "AMOUNT", "PKG", "RUN", "BASE": // make test may have been given these
		default:
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+filepath.Join(dir, "path")+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	must(t, err)
	return string(out), 0
}

func exists(t *testing.T, file string) bool {
	t.Helper()
	_, err := os.Stat(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}
