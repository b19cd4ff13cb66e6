// Package point lets a test end or freeze a service at a named place in its code.
// No service imports it: lavka/tests/faults/variant adds calls of it to a
// service's sources when it builds the service for a test.
package point

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is the environment variable with the directory in which points are armed:
// by a file with the point's name that contains "kill" or "stop".
const Dir = "LAVKA_POINTS"

var dir = os.Getenv(Dir)

// Armed reports whether Reach would end or freeze the process.
func Armed(name string) bool {
	if dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Reach ends or freezes this process if the point is armed. If several processes
// reach it, only the first is affected. It leaves its process id in a file named
// <name>.reached.
func Reach(name string) {
	if !Armed(name) {
		return
	}
	armed := filepath.Join(dir, name)
	taken := armed + "." + strconv.Itoa(os.Getpid())
	if os.Rename(armed, taken) != nil {
		return // another process was first
	}
	what, err := os.ReadFile(taken)
	if err == nil {
		err = os.WriteFile(taken, []byte(strconv.Itoa(os.Getpid())), 0o600)
	}
	if err == nil {
		err = os.Rename(taken, armed+".reached")
	}
	if err != nil {
		panic("point " + name + ": " + err.Error())
	}
	signal := syscall.SIGKILL
	if strings.TrimSpace(string(what)) == "stop" {
		signal = syscall.SIGSTOP
	}
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		panic("point " + name + ": " + err.Error())
	}
	if signal == syscall.SIGKILL {
		select {} // the signal is on its way
	}
}
