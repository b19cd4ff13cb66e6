package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// OldestMajor is the oldest major version of PostgreSQL that Lavka supports.
const OldestMajor = 15

// ErrNoBinaries means that this machine has no suitable PostgreSQL server programs.
var ErrNoBinaries = errors.New("no PostgreSQL server programs (postgres, initdb) of version 15 or newer found in PATH, through pg_config or in /usr/lib/postgresql: " +
	"install them (on Debian and Ubuntu: apt install postgresql)")

// Binaries is a directory that holds postgres and initdb of one version.
type Binaries struct {
	Dir   string
	Major int
}

// FindBinaries looks in PATH, then where pg_config points, then in the usual directories from the newest version down.
// It returns ErrNoBinaries if none of them has a supported version.
func FindBinaries() (Binaries, error) {
	all := installed()
	if len(all) == 0 {
		return Binaries{}, ErrNoBinaries
	}
	return all[0], nil
}

// binariesFor finds the programs for a data directory created by that major version; 0 means a new directory.
func binariesFor(major int, data string) (Binaries, error) {
	if major == 0 {
		return FindBinaries()
	}
	all := installed()
	for _, b := range all {
		if b.Major == major {
			return b, nil
		}
	}
	if len(all) == 0 {
		return Binaries{}, ErrNoBinaries
	}
	return Binaries{}, fmt.Errorf("%s was created by PostgreSQL %d, but this machine only has PostgreSQL %d: install version %d, or move that directory away to start with empty data",
		data, major, all[0].Major, major)
}

// installed returns the usable installations, best first.
func installed() []Binaries {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	var usual []Binaries
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/pgsql-*/bin",          // the PostgreSQL project's RPMs
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
	} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // only a malformed pattern causes an error
		}
		for _, dir := range matches {
			if b, err := inspect(dir); err == nil {
				usual = append(usual, b)
			}
		}
	}
	slices.SortStableFunc(usual, func(a, b Binaries) int { return b.Major - a.Major })

	var all []Binaries
	for _, dir := range dirs {
		if b, err := inspect(dir); err == nil {
			all = append(all, b)
		}
	}
	all = append(all, usual...)
	return slices.DeleteFunc(all, func(b Binaries) bool { return b.Major < OldestMajor })
}

var versionPattern = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// inspect returns an error for a directory that holds only one of the two programs, as those of client packages do.
func inspect(dir string) (Binaries, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, fmt.Errorf("look for initdb: %w", err)
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("run postgres --version: %w", err)
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return Binaries{}, fmt.Errorf("unknown version: %s", out)
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return Binaries{}, fmt.Errorf("read the version: %w", err)
	}
	return Binaries{Dir: dir, Major: major}, nil
}

// dataMajor returns the major version that created a data directory; 0 means that the directory does not exist yet.
func dataMajor(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(data); err == nil {
			return 0, fmt.Errorf("%s has no PG_VERSION, so it is not a PostgreSQL data directory: move it away", data)
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s is of an unknown version: %w", data, err)
	}
	return major, nil
}
