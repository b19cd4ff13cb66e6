//go:build !linux

package child

import (
	"os/exec"
	"syscall"
)

func start(cmd *exec.Cmd, _ syscall.Signal) error { return cmd.Start() }
