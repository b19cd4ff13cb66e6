package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lavka/libs/host/childprocess"
)

const canSeeProcesses = true

// reach returns dir by a path that a child running as u can use. The child may have no access to the directories above it (a checkout
// below /root), so it inherits dir, opened by us, as file descriptor 3. A working directory would not do: PostgreSQL 15 leaves it,
// and can't get back.
func reach(dir string, u *childprocess.User) (place, func() error, error) {
	if u == nil {
		return place{path: dir}, func() error { return nil }, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return place{}, nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return place{path: "/proc/self/fd/3", files: []*os.File{d}}, d.Close, nil
}

// processesIn lists the PostgreSQL processes whose working directory is dir: a server runs in its data directory.
func processesIn(dir string) ([]int, error) {
	want, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", dir, err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, link := range links {
		info, err := os.Stat(link)
		if err != nil || !os.SameFile(info, want) {
			continue // ended, or another user's
		}
		if name, err := os.ReadFile(filepath.Join(filepath.Dir(link), "comm")); err != nil || strings.TrimSpace(string(name)) != "postgres" {
			continue // another program, such as a shell
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			return nil, fmt.Errorf("read a process id: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
