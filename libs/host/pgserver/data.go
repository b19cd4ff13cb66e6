package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lavka/libs/host/childprocess"
)

// keepPassword reads the superuser's password from file. If there is none and mayMake is set, because no data depends on it
// yet, it generates one and saves it.
func keepPassword(file string, mayMake bool) (string, error) {
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the superuser's password: %w", err)
	}
	if !mayMake {
		return "", fmt.Errorf("%s, which holds the password of the data beside it, is missing: restore it, or move the directory away to start with empty data", file)
	}
	password := rand.Text()
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("save the superuser's password: %w", err)
	}
	return password, nil
}

// initialize creates the data in a temporary directory beside its final place and moves it there once it is complete,
// so that an interrupted run never leaves a partial data directory.
func initialize(ctx context.Context, bin Binaries, cfg Config, user *childprocess.User, password string) error {
	work := filepath.Join(cfg.Dir, "new")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("remove an unfinished data directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(work, "data"), 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(work, "password"), []byte(password), 0o600); err != nil {
		return fmt.Errorf("write the password for initdb: %w", err)
	}
	if err := own(work, user); err != nil {
		return err
	}
	if err := initdb(ctx, bin, work, user, cfg.Volatile); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "data"), filepath.Join(cfg.Dir, "data")); err != nil {
		return fmt.Errorf("move the data directory into place: %w", err)
	}
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("clean up after initdb: %w", err)
	}
	return syncDir(cfg.Dir)
}

// copyData copies the data and the password of a stopped server. Like initialize, it never leaves a partial data directory.
func copyData(from, to string) error {
	password, err := os.ReadFile(filepath.Join(from, "password"))
	if err != nil {
		return fmt.Errorf("read the template's password: %w", err)
	}
	if err := os.WriteFile(filepath.Join(to, "password"), password, 0o600); err != nil {
		return fmt.Errorf("save the superuser's password: %w", err)
	}
	work := filepath.Join(to, "new")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("remove an unfinished data directory: %w", err)
	}
	if err := os.Mkdir(work, 0o700); err != nil { // PostgreSQL refuses data that others can read
		return fmt.Errorf("create the data directory: %w", err)
	}
	if err := os.CopyFS(work, os.DirFS(filepath.Join(from, "data"))); err != nil {
		return fmt.Errorf("copy the template: %w", err)
	}
	if err := os.Rename(work, filepath.Join(to, "data")); err != nil {
		return fmt.Errorf("move the data directory into place: %w", err)
	}
	return nil
}

func initdb(ctx context.Context, bin Binaries, work string, user *childprocess.User, volatile bool) error {
	dir, release, err := reach(work, user)
	if err != nil {
		return err
	}
	defer release()
	provider := "libc"
	if bin.Major >= 17 {
		provider = "builtin" // the same everywhere; before 17, the system's C.UTF-8 is the closest match
	}
	args := []string{
		"--pgdata=" + dir.path + "/data", "--pwfile=" + dir.path + "/password", "--username=" + Superuser,
		"--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8",
		"--locale-provider=" + provider, "--locale=C.UTF-8", "--lc-messages=C", "--no-instructions",
	}
	if volatile {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin.Dir, "initdb"), args...)
	cmd.Dir = "/"
	cmd.Env = Environment()
	cmd.ExtraFiles = dir.files
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := childprocess.Start(cmd, childprocess.Options{User: user}); err != nil {
		return startError(err, user)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out.String())
	}
	return nil
}

// Environment returns the environment for PostgreSQL's programs, servers and clients. It leaves out what would change their behavior: the PG*
// variables, the files in the home directory, and the locale and time zone of the current user.
func Environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C.UTF-8", "TZ=UTC"}
}

// claim makes sure that no server uses the data and that the one we start can open it. It waits up to 5 s for a running server
// to end, and returns an error if one is still running.
func claim(ctx context.Context, data string, user *childprocess.User) error {
	// A server whose launcher was just killed may still be shutting down.
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := processesIn(data)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		select {
		case <-wait.Done():
			return fmt.Errorf("a PostgreSQL server (process %d) is running on %s: stop it first", pids[0], data)
		case <-tick.C:
		}
	}
	if err := own(data, user); err != nil {
		return err
	}
	return dropStalePID(data)
}

// dropStalePID removes the postmaster.pid of a crashed server if its process id now belongs to an unrelated process, which
// PostgreSQL would take for a live server. If there is no such process, PostgreSQL handles the file itself, and checks for
// leftover sessions better than we could.
func dropStalePID(data string) error {
	file := filepath.Join(data, "postmaster.pid")
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read postmaster.pid: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !canSeeProcesses || syscall.Kill(pid, 0) != nil {
		return nil
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("remove the postmaster.pid of a crashed server: %w", err)
	}
	return nil
}

const logLimit = 10 << 20 // bytes

// openLog opens the log for appending. If it has grown past 10 MiB, openLog renames it to file.1 and starts a new one.
func openLog(file string) (*os.File, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > logLimit {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, fmt.Errorf("rotate the log: %w", err)
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// tail returns the last 8 lines that the server has logged since offset from, for an error's text.
func tail(file string, from int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, from, 64<<10))
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	return "; its log ends with:\n" + strings.Join(lines, "\n")
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
