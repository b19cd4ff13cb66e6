// Package childprocess starts programs that never outlive this one: on Linux they get a signal when it ends, however it ends.
// Each has a process group of its own, so that a Ctrl-C in the terminal reaches this program alone, which then stops them in order.
package childprocess

import (
	"os/exec"
	"syscall"
)

// Options say how a program is started, beside what stands in its exec.Cmd.
type Options struct {
	// User, when set, is whom the program runs as. It takes root to set it.
	User *User
	// DeathSignal is sent when this program ends without stopping the child (Linux only). Zero means SIGKILL.
	DeathSignal syscall.Signal
}

// User is an account of the operating system.
type User struct {
	Name     string
	UID, GID uint32
}

// Start starts cmd as cmd.Start does. It takes over cmd.SysProcAttr.
func Start(cmd *exec.Cmd, opts Options) error {
	if opts.DeathSignal == 0 {
		opts.DeathSignal = syscall.SIGKILL
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if opts.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: opts.User.UID, Gid: opts.User.GID}
	}
	return start(cmd, opts.DeathSignal)
}
