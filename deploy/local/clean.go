package main

import (
	"context"

	"lavka/deploy/local/stack"
)

// clean removes the data and, of the directory that this program lies in, the shop's own binaries.
func clean(_ context.Context, cfg settings, _ []string) error {
	bin, err := binDir()
	if err != nil {
		return err
	}
	return stack.Remove(cfg.Data, bin)
}
