// Package programs builds the programs of Kubernetes from pinned Go modules, and keeps them for the next run.
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

// names are the links to the one binary, which runs the program that it is called by.
var names = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl", "kustomize"}

const kubernetes = "k8s.io/kubernetes "

// unused is how long the programs of other pins are kept.
const unused = 30 * 24 * time.Hour

// Build returns a directory with the programs that source pins. They are kept in the user's cache, under a hash of what decides on their content, and built
// only if they are not there. A cold build takes five minutes on two processors.
func Build(ctx context.Context, source string, log io.Writer) (dir string, err error) {
	version, key, err := pins(ctx, source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(cache, "lavka-ci", "kubernetes")
	dir = filepath.Join(kept, key)
	if _, err := os.Stat(dir); err == nil {
		fmt.Fprintf(log, "Kubernetes %s, built before: %s\n", version, dir)
		now := time.Now()
		return dir, os.Chtimes(dir, now, now)
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}

	fmt.Fprintf(log, "Kubernetes %s is built from Go modules, which takes minutes\n", version)
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(kept, "new-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	if err := compile(ctx, source, version, fresh, log); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // another run may have built the same meanwhile
			return "", err
		}
	}
	return dir, removeUnused(kept)
}

// pins returns the version of Kubernetes, and a hash of everything that decides what is built.
func pins(ctx context.Context, source string) (version, key string, err error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text)
		if name == "go.mod" {
			_, after, _ := bytes.Cut(text, []byte(kubernetes))
			line, _, _ := bytes.Cut(after, []byte("\n"))
			version = string(bytes.TrimSpace(line))
		}
	}
	if !strings.HasPrefix(version, "v1.") {
		return "", "", fmt.Errorf("%s/go.mod does not say which version of %s is wanted", source, kubernetes)
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH")
	cmd.Dir = source
	out, err := cmd.Output()
	if err != nil {
		return "", "", fmt.Errorf("go env: %w", err)
	}
	hash.Write(out)
	return version, hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func compile(ctx context.Context, source, version, dir string, log io.Writer) error {
	minor := strings.Split(version, ".")[1]
	const variable = " -X k8s.io/component-base/version."
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "kubernetes"), "-ldflags",
		"-s -w"+variable+"gitVersion="+version+variable+"gitMajor=1"+variable+"gitMinor="+minor, ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build Kubernetes in %s: %w", source, err)
	}
	for _, name := range names {
		if err := os.Symlink("kubernetes", filepath.Join(dir, name)); err != nil {
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
