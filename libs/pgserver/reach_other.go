//go:build !linux

package pgserver

import "lavka/libs/child"

const canSeeProcesses = false

func reach(dir string, _ *child.User) (place, func() error, error) {
	return place{path: dir}, func() error { return nil }, nil
}

// processesIn leaves it to PostgreSQL to find out.
func processesIn(string) ([]int, error) { return nil, nil }
