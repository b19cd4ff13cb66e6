package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lavka/deploy/local/stack"
)

// Linux's /proc, see proc(5).

// cpus is the time that each part of the shop has had since it started.
func (h *hosted) cpus() (map[string]time.Duration, error) {
	had := map[string]time.Duration{"generator": cpu()}
	for part, pids := range h.PIDs {
		for _, pid := range pids {
			own, _, _, err := stat(pid)
			if err != nil {
				return nil, err
			}
			had[part] += own
		}
	}
	sessions, err := h.sessions()
	had[postgres] += sessions
	return had, err
}

// sessions is what Postgres's sessions have had, each a process of its own,
// those too that have ended.
func (h *hosted) sessions() (time.Duration, error) {
	server := h.PIDs[postgres][0]
	_, before, _, err := stat(server)
	if err != nil {
		return 0, err
	}
	for {
		had := before
		files, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return 0, err
		}
		for _, file := range files {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				return 0, err
			}
			if own, _, parent, err := stat(pid); err == nil && parent == server { // others may be gone by now
				had += own
			}
		}
		_, after, _, err := stat(server)
		if err != nil || after == before {
			return had, err
		}
		before = after // one ended meanwhile: it was counted twice, or not at all
	}
}

// stat is the time that a process has had, that of its children that have
// ended, and its parent.
func stat(pid int) (own, ended time.Duration, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, 0, err
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return 0, 0, 0, fmt.Errorf("/proc/%d/stat can't be read", pid)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs on Linux
	number := func(i int) (n int) {
		if err == nil {
			n, err = strconv.Atoi(fields[i])
		}
		return n
	}
	parent = number(1)
	own = time.Duration(number(11)+number(12)) * tick
	ended = time.Duration(number(13)+number(14)) * tick
	return own, ended, parent, err
}

// memory is the resident memory of each service, of its largest replica, in MiB.
func (h *hosted) memory() (map[string]float64, error) {
	taken := map[string]float64{}
	for _, service := range stack.Services() {
		for _, pid := range h.PIDs[service] {
			mib, err := resident(pid)
			if err != nil {
				return nil, fmt.Errorf("memory of %s: %w", service, err)
			}
			taken[service] = max(taken[service], mib)
		}
	}
	return taken, nil
}

func resident(pid int) (mib float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("the system does not say")
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib / 1024, err
}

// watchMemory gives the most that is taken until ctx ends.
func (h *hosted) watchMemory(ctx context.Context) (map[string]float64, error) {
	most := map[string]float64{}
	for ctx.Err() == nil {
		now, err := h.memory()
		if err != nil {
			return nil, err
		}
		for service, mib := range now {
			most[service] = max(most[service], mib)
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return most, nil
}
