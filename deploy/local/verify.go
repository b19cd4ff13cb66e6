package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"lavka/deploy/local/stack"
)

// verify runs billing's check of its ledger.
func verify(ctx context.Context, cfg settings, _ []string) error {
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	cmd := shop.Verify(ctx)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return errors.New("the ledger could not be verified; see billing's output above")
	}
	if err != nil {
		return fmt.Errorf("the ledger could not be verified: billing verify: %w", err)
	}
	return nil
}
