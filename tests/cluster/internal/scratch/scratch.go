// Package scratch gives a run a directory of its own, which the next run removes if this one was killed, with the control groups of its name.
package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"lavka/tests/cluster/internal/cgroups"
)

// Dir is locked for as long as this program runs.
type Dir struct {
	Path string
	lock *os.File
}

// New removes the directories of runs that have ended, and creates one. They are in a directory that only this user can enter.
func New() (*Dir, error) {
	all := filepath.Join(os.TempDir(), fmt.Sprintf("lavka-cluster-%d", os.Getuid()))
	if err := os.Mkdir(all, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if info, err := os.Lstat(all); err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) || info.Mode() != os.ModeDir|0o700 {
		return nil, errors.Join(fmt.Errorf("%s is not a directory of this user alone: remove it", all), err)
	}
	// One run at a time looks and creates, so that a directory which is not locked is not in use.
	looking, err := lock(all, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer looking.Close()
	entries, err := os.ReadDir(all)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(all, e.Name())
		ended, err := lock(path, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := errors.Join(remove(path), ended.Close()); err != nil {
			return nil, err
		}
	}
	path, err := os.MkdirTemp(all, "")
	if err != nil {
		return nil, err
	}
	held, err := lock(path, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return nil, err
	}
	return &Dir{path, held}, nil
}

// Name is also that of the run's control groups.
func (d *Dir) Name() string { return filepath.Base(d.Path) }

// Remove removes the directory and what is in it, and the control groups.
func (d *Dir) Remove() error { return errors.Join(remove(d.Path), d.lock.Close()) }

func remove(path string) error {
	return errors.Join(cgroups.Remove(filepath.Base(path)), os.RemoveAll(path))
}

// lock locks a file or directory until it is closed, also by the end of this program.
func lock(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
