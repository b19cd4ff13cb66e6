package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// owned are the entries of a data directory that are the shop's.
var owned = []string{"postgres", "nats", "secrets.json", "signing-keys.json", "running.json", lockName}

// Remove removes all data of a shop, and the directory when nothing else is in it. It refuses while a shop runs there.
func Remove(dataDir string) (err error) {
	if _, err := os.Stat(dataDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := LockData(dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	for _, name := range owned {
		if err := os.RemoveAll(filepath.Join(dataDir, name)); err != nil {
			return fmt.Errorf("remove the data: %w", err)
		}
	}
	left, err := os.ReadDir(dataDir)
	if err != nil {
		return fmt.Errorf("look at what is left: %w", err)
	}
	if len(left) > 0 {
		return nil // not ours
	}
	if err := os.Remove(dataDir); err != nil {
		return fmt.Errorf("remove the data directory: %w", err)
	}
	return nil
}
