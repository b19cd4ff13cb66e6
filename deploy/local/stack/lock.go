package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const lockName = "lock"

// ErrInUse means that a shop runs on the data directory.
var ErrInUse = errors.New("a shop is running on it")

// Lock reserves a directory. The operating system releases it when the holder ends, for any reason.
type Lock struct{ file *os.File }

// LockData locks a data directory, which it creates if missing. If the directory is locked, it fails with ErrInUse and names the holder.
func LockData(dataDir string) (*Lock, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	path := filepath.Join(dataDir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the data directory's lock: %w", err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return nil, errors.Join(inUse(dataDir, path, err), f.Close())
		}
		if same(f, path) {
			return mark(f)
		}
		// The file was removed between our open and our lock: try again with a new one.
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("close a removed lock: %w", err)
		}
	}
}

// lockDataSoon is LockData, but waits up to a second for the holder to end: a killed process keeps the lock until the system has cleaned up.
func lockDataSoon(ctx context.Context, dataDir string) (*Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := LockData(dataDir)
		if !errors.Is(err, ErrInUse) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func inUse(dataDir, path string, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock the data directory: %w", err)
	}
	holder := ""
	if pid, err := os.ReadFile(path); err == nil && len(pid) > 0 {
		holder = " (process " + strings.TrimSpace(string(pid)) + ")"
	}
	return fmt.Errorf("data directory %s: %w%s: stop that shop first, or set LAVKA_DATA to another directory", dataDir, ErrInUse, holder)
}

func same(f *os.File, path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}

func mark(f *os.File) (*Lock, error) {
	if err := errors.Join(f.Truncate(0), write(f, fmt.Sprintf("%d\n", os.Getpid()))); err != nil {
		return nil, errors.Join(fmt.Errorf("mark the lock: %w", err), f.Close())
	}
	return &Lock{f}, nil
}

func write(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// ErrBinariesInUse means that a shop runs from the directory of binaries.
var ErrBinariesInUse = errors.New("a shop runs from them")

// HoldBinaries prevents the removal of a directory of binaries, which restarted services need. Any number of shops may hold it.
func HoldBinaries(dir string) (*Lock, error) {
	l, err := lockDir(dir, syscall.LOCK_SH)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("the binaries in %s are being removed: rebuild them with make build", dir)
	}
	return l, err
}

// ClaimBinaries locks a directory of binaries exclusively, to remove them. It fails with ErrBinariesInUse while a shop holds it.
func ClaimBinaries(dir string) (*Lock, error) {
	l, err := lockDir(dir, syscall.LOCK_EX)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("binaries in %s: %w, possibly on other data (LAVKA_DATA): stop it first", dir, ErrBinariesInUse)
	}
	return l, err
}

// lockDir locks the directory itself, which may not be writable.
func lockDir(dir string, how int) (*Lock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of binaries: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the directory of binaries: %w", err), f.Close())
	}
	return &Lock{f}, nil
}

// Release releases the lock.
func (l *Lock) Release() error { return l.file.Close() }

// locked reports whether a data directory is locked.
func locked(dataDir string) (bool, error) {
	f, err := os.Open(filepath.Join(dataDir, lockName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the data directory's lock: %w", err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return false, fmt.Errorf("test the data directory's lock: %w", err)
	}
	return err != nil, nil
}
