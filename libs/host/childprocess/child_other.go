//go:build !linux

package childprocess

import (
	"errors"
	"os/exec"
)

func start(cmd *exec.Cmd, opts Options) error {
	if opts.Namespaces != 0 {
		return errors.New("there are no namespaces but on Linux")
	}
	return cmd.Start()
}
