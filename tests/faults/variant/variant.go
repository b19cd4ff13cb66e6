// Package variant builds services that differ from the real ones: with points
// at which a test can end them, with a wall clock of their own, or broken on
// purpose, so that the checker can be shown to notice.
//
// The differences are laid over the sources at build time (go build -overlay),
// so nothing of them is in a service's own code, and no build tag, flag or
// setting can bring them into a release.
package variant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"lavka/deploy/local/stack"
)

// Edit replaces a text that stands exactly once in a file of the repository. One that
// begins with a tab is the beginning of a line.
type Edit struct{ File, Old, New string }

// Variant is a service, or all of them, with another behaviour.
type Variant struct {
	Name  string
	Edits []Edit
	// Adds are files that only the variant has: where they would lie in the
	// repository, and where they are read from.
	Adds map[string]string
	// Race builds with the race detector.
	Race bool
}

// Build builds services as a variant into a directory, and puts the others there
// from plain, where all stand as they are.
func Build(ctx context.Context, root, plain, out string, v Variant, services ...string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "lavka-variant-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	overlay, err := lay(root, work, v)
	if err != nil {
		return fmt.Errorf("variant %s: %w", v.Name, err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, service := range services {
		changed[service] = true
		if err := build(ctx, root, service, filepath.Join(out, service), overlay, v.Race); err != nil {
			return fmt.Errorf("variant %s: %w", v.Name, err)
		}
	}
	for _, service := range stack.Services() {
		if changed[service] {
			continue
		}
		if err := os.Link(filepath.Join(plain, service), filepath.Join(out, service)); err != nil {
			return fmt.Errorf("variant %s: %w", v.Name, err)
		}
	}
	return nil
}

// lay writes the changed files and the overlay that names them (go help build).
func lay(root, work string, v Variant) (string, error) {
	replace := map[string]string{}
	texts := map[string]string{}
	for _, e := range v.Edits {
		file := e.File
		if !filepath.IsAbs(file) {
			file = filepath.Join(root, file)
		}
		text, ok := texts[file]
		if !ok {
			raw, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return "", fmt.Errorf("%s has the text %q %d times, not once: the code has changed, and this variant must follow it", e.File, e.Old, n)
		}
		if i := strings.Index(text, e.Old); strings.HasPrefix(e.Old, "\t") && i > 0 && text[i-1] != '\n' {
			return "", fmt.Errorf("%s has the text %q only in a line that is indented deeper: the code has changed, and this variant must follow it", e.File, e.Old)
		}
		texts[file] = strings.Replace(text, e.Old, e.New, 1)
	}
	for file, text := range texts {
		to := filepath.Join(work, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[file] = to
	}
	for file, from := range v.Adds {
		replace[filepath.Join(root, file)] = filepath.Join(root, from)
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(work, "overlay.json")
	return overlay, os.WriteFile(overlay, raw, 0o600)
}

func build(ctx context.Context, root, service, out, overlay string, race bool) error {
	args := []string{"build", "-buildvcs=false", "-overlay", overlay, "-o", out}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if race {
		args, env = append(args, "-race", "-ldflags=-s -w"), nil // linking takes less time without debug information
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir, cmd.Env = filepath.Join(root, "services", service), env
	text, err := cmd.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("build %s: %w", service, err), errors.New(string(text)))
	}
	return nil
}
