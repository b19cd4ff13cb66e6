// Package isolated runs this program again, in namespaces of its own: it has its own network, mounts, processes and host name. They end with it, and it ends with
// the program that started it, whatever ends that.
package isolated

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"lavka/libs/host/childprocess"
)

// Program is one that was started.
type Program struct {
	*exec.Cmd
	input io.WriteCloser
}

// Command is this program with an argument, which says what it is to be.
func Command(ctx context.Context, argument string) (*Program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Program{Cmd: exec.CommandContext(ctx, self, argument)}
	p.input, err = p.StdinPipe()
	return p, err
}

// Start starts it. It waits until it is told its settings.
func (p *Program) Start() error {
	return childprocess.Start(p.Cmd, childprocess.Options{
		Namespaces: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	})
}

// Tell sends it its settings.
func (p *Program) Tell(settings any) error {
	return errors.Join(json.NewEncoder(p.input).Encode(settings), p.input.Close())
}

// Enter is called first in the new namespaces. It reads the settings, keeps mounts here, and has /proc show only the processes that are here.
func Enter(settings any) error {
	if err := json.NewDecoder(os.Stdin).Decode(settings); err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts in this namespace: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}
