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

// account says whom the server runs as: nil for ourselves, and for root, whom PostgreSQL refuses, the data's owner,
// else the system's postgres, else nobody.
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
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: add one, or start this as another user")
}

// own gives a directory and all in it to the server's user.
func own(dir string, u *childprocess.User) error {
	if u == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, int(u.UID), int(u.GID))
		}
		if err != nil {
			return fmt.Errorf("give %s to %s: %w", path, u.Name, err)
		}
		return nil
	})
}

func startError(err error, u *childprocess.User) error {
	if u != nil && errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("PostgreSQL does not run as root, and root may not become %s here: start this as another user: %w", u.Name, err)
	}
	return fmt.Errorf("start PostgreSQL: %w", err)
}

// place is a directory by a name that a child can use.
type place struct {
	path  string
	files []*os.File
}
