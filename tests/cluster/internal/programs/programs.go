// Package programs builds the programs of a cluster from pinned Go modules, and keeps them for the next run.
package programs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Set is a directory of pins, go.mod and go.sum, and what is built of them: the program in the directory, or, if there is none, the tools that go.mod names.
type Set struct {
	Name   string
	Source string // the directory
	Module string // whose version is that of the set; empty if the program is all our own
	links  []string
	flags  func(version string) string // of the linker
}

// Kubernetes is one binary, which runs the program that it is called by.
func Kubernetes(source string) Set {
	const variable = " -X k8s.io/component-base/version."
	return Set{
		Name: "Kubernetes", Source: source, Module: "k8s.io/kubernetes",
		links: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl", "kustomize"},
		flags: func(version string) string {
			minor, _, _ := strings.Cut(strings.TrimPrefix(version, "v1."), ".")
			return variable + "gitVersion=" + version + variable + "gitMajor=1" + variable + "gitMinor=" + minor
		},
	}
}

// unused is how long the programs of other pins are kept.
const unused = 30 * 24 * time.Hour

// Build returns a directory with the programs of a set. They are kept in the user's cache, under a hash of what decides on their content, and built only if
// they are not there. A cold build of Kubernetes takes five minutes on two processors.
func Build(ctx context.Context, s Set, log io.Writer) (dir string, err error) {
	version, key, err := s.pins(ctx)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(cache, "lavka-ci", filepath.Base(s.Source))
	dir = filepath.Join(kept, key)
	called := strings.TrimSpace(s.Name + " " + version)
	if _, err := os.Stat(dir); err == nil {
		fmt.Fprintf(log, "%s, built before: %s\n", called, dir)
		now := time.Now()
		return dir, os.Chtimes(dir, now, now)
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}

	fmt.Fprintf(log, "%s is built from Go modules, which may take minutes\n", called)
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(kept, "new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	if err := s.compile(ctx, version, fresh, log); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // another run may have built the same meanwhile
			return "", err
		}
	}
	return dir, removeUnused(kept)
}

// pins returns the version of the set's module, and a hash of everything that decides what is built.
func (s Set) pins(ctx context.Context) (version, key string, err error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(s.Source, name))
		if errors.Is(err, os.ErrNotExist) && name != "go.mod" {
			continue
		}
		if err != nil {
			return "", "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
		if name == "go.mod" && s.Module != "" {
			_, after, _ := bytes.Cut(text, []byte(s.Module+" v"))
			fields := bytes.Fields(after)
			if len(fields) == 0 {
				return "", "", fmt.Errorf("%s/go.mod does not say which version of %s is wanted", s.Source, s.Module)
			}
			version = "v" + string(fields[0])
		}
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH")
	cmd.Dir = s.Source
	out, err := cmd.Output()
	if err != nil {
		return "", "", fmt.Errorf("go env: %w", err)
	}
	hash.Write(out)
	return version, hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func (s Set) compile(ctx context.Context, version, dir string, log io.Writer) error {
	what, flags := ".", "-s -w"
	if _, err := os.Stat(filepath.Join(s.Source, "main.go")); errors.Is(err, os.ErrNotExist) {
		what = "tool"
	}
	if s.flags != nil {
		flags += s.flags(version)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", "-ldflags", flags, what)
	cmd.Dir = s.Source
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s in %s: %w", s.Name, s.Source, err)
	}
	for _, name := range s.links {
		if err := os.Symlink(filepath.Base(s.Source), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755)
}

func removeUnused(kept string) error {
	entries, err := os.ReadDir(kept)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) > unused {
			if err := os.RemoveAll(filepath.Join(kept, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
