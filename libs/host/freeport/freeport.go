// Package freeport finds unused TCP ports on 127.0.0.1.
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

// The range lies below the ephemeral ports that operating systems assign to outgoing connections (32768 and up on Linux, 49152
// and up elsewhere): no client connection can take a free port before the server that it is meant for has started.
const lowest, highest = 15000, 32000

var (
	mu    sync.Mutex
	given = map[int]*os.File{} // port to its claim file, which must stay open; nil if there is none
)

// Take returns a port that was free just now. It never returns the same port twice while this program runs, nor one that
// another program has claimed through this package.
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
		claimed.Close() // a nil file is fine
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}

// Keep reserves a port that was chosen by other means, so that Take neither returns nor probes it while this program runs.
// A port that another program has claimed stays claimed.
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

// claim locks a file that represents the port, for as long as this program runs. If the file can't be created, because another
// user owns the directory, claim treats the port as free and returns a nil file.
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
