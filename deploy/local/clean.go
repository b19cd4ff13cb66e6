package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lavka/deploy/local/stack"
)

// clean removes the data and, of the directory that this program lies in, the shop's own binaries.
func clean(_ context.Context, cfg settings, _ []string) error {
	if err := stack.Remove(cfg.Data); err != nil {
		return err
	}
	bin, err := binDir()
	if err != nil {
		return err
	}
	for _, name := range append(stack.Services(), "lavka") {
		if err := os.Remove(filepath.Join(bin, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the binaries: %w", err)
		}
	}
	return nil
}
