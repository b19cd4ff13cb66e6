package freeport_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lavka/libs/freeport"
)

// Run again by itself, this program takes ports and tells which.
func TestMain(m *testing.M) {
	n, err := strconv.Atoi(os.Getenv("TAKE_PORTS"))
	if err != nil {
		os.Exit(m.Run())
	}
	for range n {
		port, err := freeport.Take()
		if err != nil {
			panic(err)
		}
		println(port)
	}
	// The ports are its own until it is told to end.
	if _, err := os.Stdin.Read(make([]byte, 1)); err == nil {
		os.Exit(0)
	}
}

func TestTwoProgramsTakeDifferentPorts(t *testing.T) {
	t.Parallel()
	const each = 300
	var all sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]int{}
	var end []func()
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TAKE_PORTS="+strconv.Itoa(each))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end = append(end, func() {
			in.Close()
			// It ends as it is told to; what it said is what counts.
			_ = cmd.Wait()
		})
		all.Go(func() {
			var text strings.Builder
			for buf := make([]byte, 1024); strings.Count(text.String(), "\n") < each; {
				n, err := out.Read(buf)
				if err != nil {
					t.Error(err)
					return
				}
				text.Write(buf[:n])
			}
			mu.Lock()
			defer mu.Unlock()
			for _, port := range strings.Fields(text.String()) {
				taken[port]++
			}
		})
	}
	all.Wait()
	for _, f := range end {
		f()
	}
	if len(taken) != 4*each {
		t.Errorf("%d different ports of %d", len(taken), 4*each)
	}
}
