// Package freeport finds TCP ports on 127.0.0.1 that nobody listens on.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The range lies below the ports that systems hand to outgoing connections (32768 and up on Linux, 49152 and up elsewhere):
// one that was free a moment ago is not taken by somebody's client before the server that it is meant for has started.
const lowest, highest = 15000, 32000

var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Take returns a port that was free just now. It never returns the same one twice in the life of the program.
func Take() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest)
		if given[port] {
			continue
		}
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			if err := l.Close(); err != nil {
				return 0, fmt.Errorf("close the probe of port %d: %w", port, err)
			}
			given[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}
