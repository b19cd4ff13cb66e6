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

// keepPassword reads the superuser's password, and makes one up where there is none and no data that needs it yet.
func keepPassword(file string, mayMake bool) (string, error) {
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the superuser's password: %w", err)
	}
	if !mayMake {
		return "", fmt.Errorf("%s, the password of the data beside it, is gone: bring it back, or move the directory away to start anew", file)
	}
	password := rand.Text()
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the superuser's password: %w", err)
	}
	return password, nil
}

// initialize makes the data in a directory beside its place and moves it there when it is whole,
// so that an interrupted one is never taken for data.
func initialize(ctx context.Context, bin Binaries, cfg Config, user *childprocess.User, password string) error {
	work := filepath.Join(cfg.Dir, "new")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("clear an unfinished data directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(work, "data"), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(work, "password"), []byte(password), 0o600); err != nil {
		return fmt.Errorf("hand over the password: %w", err)
	}
	if err := own(work, user); err != nil {
		return err
	}
	if err := initdb(ctx, bin, work, user, cfg.Volatile); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "data"), filepath.Join(cfg.Dir, "data")); err != nil {
		return fmt.Errorf("put the data directory in its place: %w", err)
	}
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("clear up after initdb: %w", err)
	}
	return syncDir(cfg.Dir)
}

func initdb(ctx context.Context, bin Binaries, work string, user *childprocess.User, volatile bool) error {
	dir, release, err := reach(work, user)
	if err != nil {
		return err
	}
	defer release()
	provider := "libc"
	if bin.Major >= 17 {
		provider = "builtin" // the same everywhere; before 17 the system's C.UTF-8 is the nearest thing
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
	cmd.Env = environment()
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

// environment leaves out what would change a server's mind: PGDATA, PGPORT, a locale or a time zone of the person who starts it.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"}
}

// claim makes sure that nobody uses the data and that a server of ours will be let at it.
func claim(ctx context.Context, data string, user *childprocess.User) error {
	// One whose launcher was killed a moment ago may still be on its way out.
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

// dropStalePID removes the mark of a crashed server when its process id now belongs to a stranger: PostgreSQL would take him
// for a live server. With the process gone it copes by itself, and looks for leftover sessions better than we could.
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
		return fmt.Errorf("remove the mark of a crashed server: %w", err)
	}
	return nil
}

const logLimit = 10 << 20

// openLog starts a new log when the old one has grown past 10 MiB, and keeps that one as postgres.log.1.
func openLog(file string) (*os.File, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > logLimit {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, fmt.Errorf("put the old log aside: %w", err)
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// tail is the end of what the server has logged since it was started, for an error's text.
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
