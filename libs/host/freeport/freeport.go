// Package freeport finds TCP ports on 127.0.0.1 that nobody listens on.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// The range lies below the ports that systems hand to outgoing connections (32768 and up on Linux, 49152 and up elsewhere):
// one that was free a moment ago is not taken by somebody's client before the server that it is meant for has started.
const lowest, highest = 15000, 32000

var (
	mu    sync.Mutex
	given = map[int]*os.File{} // with the claims, which must stay open
)

// Take returns a port that was free just now. It never returns the same one twice in the life of the program, nor one that
// another program has taken from here and may be about to use.
func Take() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest)
		if _, mine := given[port]; mine {
			continue
		}
		claimed, free := claim(port)
		if !free {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			if err := l.Close(); err != nil {
				return 0, fmt.Errorf("close the probe of port %d: %w", port, err)
			}
			given[port] = claimed
			return port, nil
		}
		claimed.Close() // nil is no file, which is well
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}

// Keep has nobody take a port from here that was chosen otherwise and is about to be used, for as long as this program lives:
// not even to look whether it is free. One that another program has taken stays that one's.
func Keep(port int) {
	mu.Lock()
	defer mu.Unlock()
	if _, mine := given[port]; mine {
		return
	}
	if claimed, free := claim(port); free {
		given[port] = claimed
	}
}

// claim locks a file that stands for the port for as long as this program lives. Where there can be no such file, because
// another user made the folder, the port is taken for free.
func claim(port int) (file *os.File, free bool) {
	dir := filepath.Join(os.TempDir(), "lavka-ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, true
	}
	file, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, true
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, false
	}
	return file, true
}
