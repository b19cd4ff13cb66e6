package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	cgroups = "/sys/fs/cgroup"
	// period is how often a process gets its part of the time, in microseconds. By default it is
	// a tenth of a second, which would be most of what a request takes.
	period = 20_000
)

// limitCPU limits a process to a part of a processor, with a cgroup of this name
// (Documentation/admin-guide/cgroup-v2.rst of Linux, or cgroup-v1). It needs root. release removes
// the cgroup; the process goes on without a limit.
func limitCPU(name string, pid int, share float64) (release func() error, err error) {
	quota := int(share * period)
	root, dir := filepath.Join(cgroups, "cpu"), filepath.Join(cgroups, "cpu", name) // version 1
	limits := map[string]string{"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": strconv.Itoa(quota)}
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		root, dir = cgroups, filepath.Join(cgroups, name)
		limits = map[string]string{"cpu.max": fmt.Sprintf("%d %d", quota, period)}
		if err := write(filepath.Join(root, "cgroup.subtree_control"), "+cpu"); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("limit a process to a part of a processor: %w", err)
	}
	release = func() error {
		err := write(filepath.Join(root, "cgroup.procs"), strconv.Itoa(pid))
		if errors.Is(err, syscall.ESRCH) { // it has ended
			err = nil
		}
		return errors.Join(err, os.Remove(dir))
	}
	for file, value := range limits {
		if err := write(filepath.Join(dir, file), value); err != nil {
			return nil, errors.Join(err, release())
		}
	}
	if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

func write(file, value string) error {
	return os.WriteFile(file, []byte(value), 0)
}
