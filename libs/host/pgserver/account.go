package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"lavka/libs/host/childprocess"
)

// account returns the account that the server runs as: nil for the current user. Because PostgreSQL refuses to run as root,
// for root it returns the owner of the data, or else the system's postgres, or else the user nobody.
func account(data string) (*childprocess.User, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	if info, err := os.Stat(data); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			return &childprocess.User{Name: "user " + strconv.Itoa(int(stat.Uid)), UID: stat.Uid, GID: stat.Gid}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read the id of user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read the group of user %s: %w", name, err)
		}
		return &childprocess.User{Name: name, UID: uint32(uid), GID: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and neither user postgres nor user nobody exists: create one, or start this as another user")
}

// own makes the server's user the owner of a directory and everything in it.
func own(dir string, u *childprocess.User) error {
	if u == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, int(u.UID), int(u.GID))
		}
		if err != nil {
			return fmt.Errorf("change the owner of %s to %s: %w", path, u.Name, err)
		}
		return nil
	})
}

func startError(err error, u *childprocess.User) error {
	if u != nil && errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("PostgreSQL refuses to run as root, and root may not switch to %s here: start this as another user: %w", u.Name, err)
	}
	return fmt.Errorf("start PostgreSQL: %w", err)
}

// place is a directory, by a path that a child process can use.
type place struct {
	path  string
	files []*os.File
}
