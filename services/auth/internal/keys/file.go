package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Read returns the key set in a file.
func Read(path string) (Set, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	set, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read keys in %s: %w", path, err)
	}
	return set, nil
}

// Add creates a key. If the file does not exist, Add creates it, readable only by
// its owner, and the key signs. In an existing file the key is only published, so
// that every service knows it by the time it is promoted.
func Add(path string) (Key, error) {
	key, err := NewKey()
	if err != nil {
		return Key{}, err
	}
	set, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return key, write(path, Set{key}, 0o600, os.Link)
	}
	if err != nil {
		return Key{}, err
	}
	return key, rewrite(path, append(set, key))
}

// Promote makes a key the signing key.
func Promote(path, id string) error {
	set, err := Read(path)
	if err != nil {
		return err
	}
	i := set.find(id)
	if i < 0 {
		return fmt.Errorf("%s has no key %s", path, id)
	}
	key := set[i]
	return rewrite(path, append(Set{key}, slices.Delete(set, i, i+1)...))
}

// Remove removes a key; tokens that it signed are no longer valid. The signing key
// can't be removed, so the last key can't be removed either.
func Remove(path, id string) error {
	set, err := Read(path)
	if err != nil {
		return err
	}
	switch i := set.find(id); {
	case i < 0:
		return fmt.Errorf("%s has no key %s", path, id)
	case i == 0:
		return fmt.Errorf("key %s is the signing key; promote another key first", id)
	default:
		return rewrite(path, slices.Delete(set, i, i+1))
	}
}

// rewrite replaces the set in a file and keeps the file's permissions.
func rewrite(path string, set Set) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return write(path, set, info.Mode().Perm(), os.Rename)
}

// write writes a temporary file and moves it into place, so that a reader sees
// either the old set or the new one, never a part of it. With os.Link as move, a
// file that was created in the meantime is not overwritten.
func write(path string, set Set, mode fs.FileMode, move func(from, to string) error) (err error) {
	text, err := set.encode()
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // with 0600
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	defer func() {
		if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = move(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}
