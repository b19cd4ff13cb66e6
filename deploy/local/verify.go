package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"lavka/deploy/local/stack"
)

// verify lets billing check its ledger, with billing's own rights.
func verify(ctx context.Context, cfg settings, _ []string) error {
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(shop.BinDir, stack.Billing), "verify")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+shop.DatabaseURLs[stack.Billing])
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return errors.New("the ledger is not verified: billing says why")
	}
	return nil
}
