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

// Lock keeps a directory for its user. The system gives it back when its holder ends, however that happens.
type Lock struct{ file *os.File }

// LockData takes the lock of a data directory, which it makes when missing. It fails with ErrInUse, naming the holder.
func LockData(dataDir string) (*Lock, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
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
		// It was removed between our open and our lock; the next one is new.
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("close a removed lock: %w", err)
		}
	}
}

// lockDataSoon is LockData that gives a holder a moment to be gone: one that was killed keeps the lock until the system has cleared up after it.
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
	return fmt.Errorf("data directory %s: %w%s: stop that one first, or set LAVKA_DATA to another directory", dataDir, ErrInUse, holder)
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

// HoldBinaries keeps a directory of binaries from being removed: a service that ends is started from it again. Any number of shops may hold it.
func HoldBinaries(dir string) (*Lock, error) {
	l, err := lockDir(dir, syscall.LOCK_SH)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("the binaries in %s are being removed: build them again with make build", dir)
	}
	return l, err
}

// ClaimBinaries takes a directory of binaries for oneself, to remove them. It fails with ErrBinariesInUse while anybody holds it.
func ClaimBinaries(dir string) (*Lock, error) {
	l, err := lockDir(dir, syscall.LOCK_EX)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("binaries in %s: %w, maybe on other data (LAVKA_DATA): stop it first", dir, ErrBinariesInUse)
	}
	return l, err
}

// lockDir locks the directory itself, in which we may not be allowed to write.
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

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }

// locked says whether somebody holds the lock of a data directory.
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
		return false, fmt.Errorf("try the data directory's lock: %w", err)
	}
	return err != nil, nil
}
