package pgserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"lavka/libs/testkit/waittest"
)

// TestMain also serves as the program that TestKilledParent kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PGSERVER_TEST_DIR"); dir != "" {
		s, err := Start(context.Background(), Config{Dir: dir, Volatile: true})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.PID())
		<-s.Done()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func exec1(t *testing.T, s *Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return answer
}

func TestRestartFindsData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	exec1(t, s, `CREATE TABLE shelf (name text)`)
	exec1(t, s, `INSERT INTO shelf VALUES ('tea') RETURNING name`)
	for name, want := range map[string]string{"data_checksums": "on", "password_encryption": "scram-sha-256", "server_encoding": "UTF8", "lc_ctype": "C.UTF-8", "fsync": "off", "unix_socket_directories": ""} {
		if got := exec1(t, s, `SELECT current_setting('`+name+`')`); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatalf("stop again: %v", err)
	}
	if got := exec1(t, start(t, dir), `SELECT name FROM shelf`); got != "tea" {
		t.Errorf("after a restart: read %q, want tea", got)
	}
}

// The servers of two copies run side by side and share nothing but how they began.
func TestTemplate(t *testing.T) {
	t.Parallel()
	template := t.TempDir()
	s := start(t, template)
	exec1(t, s, `CREATE TABLE shelf AS SELECT 'tea' AS name`)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	var copies []*Server
	for range 2 {
		dir := t.TempDir()
		for range 2 { // the second time, its own data is there
			s, err := Start(t.Context(), Config{Dir: dir, Template: template, Volatile: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			})
			copies = append(copies, s)
			exec1(t, s, `UPDATE shelf SET name = name || '!'`)
			if len(copies)%2 == 1 {
				if err := s.Stop(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, s := range []*Server{copies[1], copies[3]} {
		if got := exec1(t, s, `SELECT name FROM shelf`); got != "tea!!" {
			t.Errorf("read %q, want tea!!", got)
		}
		info, err := os.Stat(filepath.Join(s.cfg.Dir, "password"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the password file has mode %o, want 600", info.Mode().Perm())
		}
	}
	if got := exec1(t, start(t, template), `SELECT name FROM shelf`); got != "tea" {
		t.Errorf("the template has %q, want tea", got)
	}
}

func TestPasswordIsNeeded(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	cfg, err := pgx.ParseConfig(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password = "wrong"
	if conn, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
		conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}
	info, err := os.Stat(filepath.Join(s.cfg.Dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the password file has mode %o, want 600", info.Mode().Perm())
	}
}

// The parent directory can be entered only by its owner, as with a checkout below root's home directory.
func TestUnreachableParent(t *testing.T) {
	t.Parallel()
	parent := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "deep", "pg")
	s := start(t, dir)
	exec1(t, s, `CREATE TABLE shelf AS SELECT 'tea' AS name`)
	exec1(t, s, `CREATE DATABASE another`)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	exec1(t, s, `SELECT name FROM shelf`)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := exec1(t, start(t, dir), `SELECT name FROM shelf`); got != "tea" {
		t.Errorf("after a crash: read %q, want tea", got)
	}
}

func TestStalePID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir) // postmaster.pid names a process that has ended
	pidFile := filepath.Join(dir, "data", "postmaster.pid")
	mark, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	// The process id now belongs to an unrelated process of the same user.
	stranger := exec.Command("cat")
	stranger.SysProcAttr = &syscall.SysProcAttr{}
	if user, err := account(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	} else if user != nil {
		stranger.SysProcAttr.Credential = &syscall.Credential{Uid: user.UID, Gid: user.GID}
	}
	stdin, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer stranger.Wait()
	defer stdin.Close()
	_, rest, _ := strings.Cut(string(mark), "\n")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(stranger.Process.Pid)+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}

func TestLiveServerRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	_, err := Start(t.Context(), Config{Dir: dir, Volatile: true})
	if err == nil || !strings.Contains(err.Error(), "is running on") {
		t.Errorf("start a second server on the same data: %v", err)
	}
	exec1(t, s, `SELECT 'still here'`)
}

func TestAnotherMajorVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "data", "PG_VERSION")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "was created by PostgreSQL 9") || strings.Contains(err.Error(), "\n") {
		t.Errorf("data of PostgreSQL 9: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("the directory was modified: %v", entries)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := Start(t.Context(), Config{Dir: t.TempDir(), Port: l.Addr().(*net.TCPAddr).Port, Volatile: true})
	if err == nil {
		s.Stop()
		t.Fatal("the server started on a port that is in use")
	}
	if !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("the error lacks the reason from the server's log: %v", err)
	}
}

// If the launcher is killed, its server must end too.
func TestKilledParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "PGSERVER_TEST_DIR="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatalf("the server did not start: %s", line)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	waittest.Eventually(t, "no server process outlives its parent", func() bool {
		pids, err := processesIn(filepath.Join(dir, "data"))
		if err != nil {
			t.Fatal(err)
		}
		return len(pids) == 0
	})
	start(t, dir)
}
