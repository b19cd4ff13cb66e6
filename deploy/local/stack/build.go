package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Build builds the services' binaries from a checkout into a directory, with the race detector or without.
func Build(ctx context.Context, repoRoot, outDir string, race bool) error {
	out, err := filepath.Abs(outDir)
	if err != nil {
		return fmt.Errorf("find %s: %w", outDir, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range Services() {
		group.Go(func() error {
			args := []string{"build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(out, name)}
			cgo := "CGO_ENABLED=0"
			if race {
				args, cgo = append(args, "-race"), "CGO_ENABLED=1"
			}
			cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
			cmd.Dir = filepath.Join(repoRoot, "services", name)
			cmd.Env = append(os.Environ(), cgo)
			if text, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build %s: %w\n%s", name, err, text)
			}
			return nil
		})
	}
	return group.Wait()
}
