// Package point lets a test end or freeze a service at a named place in its
// code. No service knows it: lavka/tests/faults/variant lays calls of it over
// a service's sources when it builds the service for a test.
package point

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is the environment variable that names the directory in which points are
// armed: a file with a point's name that holds "kill" or "stop".
const Dir = "LAVKA_POINTS"

var dir = os.Getenv(Dir)

// Armed reports whether Reach would do something.
func Armed(name string) bool {
	if dir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Reach ends or freezes this process when the point is armed. Of several
// processes one gets it, and leaves its process id in a file called
// <name>.reached.
func Reach(name string) {
	if !Armed(name) {
		return
	}
	armed := filepath.Join(dir, name)
	taken := armed + "." + strconv.Itoa(os.Getpid())
	if os.Rename(armed, taken) != nil {
		return // somebody else was first
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
