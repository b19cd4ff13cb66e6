package main

import (
	"context"

	"lavka/deploy/local/stack"
)

// clean removes the data, and the shop's own binaries from the directory of this program.
func clean(_ context.Context, cfg settings, _ []string) error {
	bin, err := binDir()
	if err != nil {
		return err
	}
	return stack.Remove(cfg.Data, bin)
}
