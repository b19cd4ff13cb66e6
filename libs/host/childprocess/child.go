// Package childprocess starts child processes that do not outlive this program: on Linux the kernel signals them when it ends,
// for whatever reason. Each child has its own process group, so that Ctrl-C in the terminal reaches only this program, which
// then stops its children in order.
package childprocess

import (
	"os/exec"
	"syscall"
)

// Options control how a program is started, in addition to its exec.Cmd.
type Options struct {
	// User, if set, is the account that the program runs as. Setting it requires root.
	User *User
	// DeathSignal is sent to the child when this program ends without stopping it (Linux only). Zero means SIGKILL.
	DeathSignal syscall.Signal
	// Namespaces are those that the child gets of its own: CLONE_NEWNET and so on (Linux only). Creating most of them requires root.
	Namespaces uintptr
}

// User is an account of the operating system.
type User struct {
	Name     string
	UID, GID uint32
}

// Start starts cmd as cmd.Start does. It overwrites cmd.SysProcAttr.
func Start(cmd *exec.Cmd, opts Options) error {
	if opts.DeathSignal == 0 {
		opts.DeathSignal = syscall.SIGKILL
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if opts.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: opts.User.UID, Gid: opts.User.GID}
	}
	return start(cmd, opts)
}
