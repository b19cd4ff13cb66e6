package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Build builds the services' binaries from a checkout into a directory, with or without the race detector. With it, the flags are those of
// go test -race, so that its compiled packages are reused; without debug information linking takes less time.
func Build(ctx context.Context, repoRoot, outDir string, race bool) error {
	out, err := filepath.Abs(outDir)
	if err != nil {
		return fmt.Errorf("find %s: %w", outDir, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range Services() {
		group.Go(func() error {
			args, env := []string{"-trimpath"}, append(os.Environ(), "CGO_ENABLED=0")
			if race {
				args, env = []string{"-race", "-ldflags=-s -w"}, nil
			}
			cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-buildvcs=false", "-o", filepath.Join(out, name)}, args, []string{"."})...)
			cmd.Dir = filepath.Join(repoRoot, "services", name)
			cmd.Env = env
			if text, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("build %s: %w\n%s", name, err, text)
			}
			return nil
		})
	}
	return group.Wait()
}
