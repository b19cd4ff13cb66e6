package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// owned lists the entries of a data directory that belong to the shop.
var owned = []string{"postgres", "nats", "secrets.json", "signing-keys.json", "running.json", lockName}

// Remove removes all data of a shop, the data directory if nothing else is in it, and the shop's binaries.
// It removes nothing while a shop runs on the data (ErrInUse) or, on any data, from the binaries (ErrBinariesInUse).
func Remove(dataDir, binDir string) (err error) {
	release := func(l *Lock) { err = errors.Join(err, l.Release()) }
	if _, err := os.Stat(dataDir); !errors.Is(err, os.ErrNotExist) {
		lock, err := LockData(dataDir)
		if err != nil {
			return err
		}
		defer release(lock)
	}
	claim, err := ClaimBinaries(binDir)
	if err != nil {
		return err
	}
	defer release(claim)
	if err := removeData(dataDir); err != nil {
		return err
	}
	for _, name := range append(Services(), "lavka") {
		if err := os.Remove(filepath.Join(binDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the binaries: %w", err)
		}
	}
	return nil
}

func removeData(dir string) error {
	files := owned
	for _, name := range Services() {
		files = append(files, filepath.Base(SettingsFile(dir, name)))
	}
	for _, name := range files {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove the data: %w", err)
		}
	}
	left, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list what is left: %w", err)
	}
	if len(left) > 0 {
		return nil // other files: keep the directory
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove the data directory: %w", err)
	}
	return nil
}
