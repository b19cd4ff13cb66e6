package freeport

import "testing"

func TestKeptPortsAreNotGivenOut(t *testing.T) {
	t.Parallel()
	const port = lowest - 1 // used by no other test
	Keep(port)
	if f, free := claim(port); free && f != nil {
		f.Close()
		t.Error("another program could take it")
	}
	mu.Lock()
	defer mu.Unlock()
	if _, mine := given[port]; !mine {
		t.Error("this program could take it")
	}
}

func TestPortsAreUnique(t *testing.T) {
	t.Parallel()
	taken := map[int]bool{}
	for range 20 {
		port, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		if taken[port] || port < lowest || port >= highest {
			t.Errorf("port %d", port)
		}
		taken[port] = true
	}
}
