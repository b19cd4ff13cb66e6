// Package pgserver runs a PostgreSQL server on 127.0.0.1 from the programs installed on this machine.
// The server is a child of this program and ends with it, even if this program is killed (on Linux).
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"lavka/libs/host/childprocess"
	"lavka/libs/host/freeport"
	"lavka/libs/service/pgconfig"
)

// Superuser is the name of the server's superuser role.
const Superuser = "postgres"

// Config is where a server keeps its data and how it runs.
type Config struct {
	// Dir is the server's own directory: data/, postgres.log and the superuser's password (mode 0600). It is created if missing.
	Dir string
	// Template is the Dir of a stopped server. If there is no data yet, Start copies the template's data and password instead of creating an
	// empty database. Both servers then have the same system identifier, so this is for tests. Empty means an empty database.
	Template string
	// Port is the port on 127.0.0.1; 0 picks a free one.
	Port int
	// Settings override those in postgresql.conf and the defaults of this package.
	Settings map[string]string
	// Volatile trades durability for speed: a crash of the machine may corrupt the data. For tests.
	Volatile bool
	// StartTimeout limits how long Start waits for the server to accept connections, including crash recovery; 0 means a minute.
	StartTimeout time.Duration
	// StopTimeout limits a fast shutdown, after which an immediate shutdown follows; 0 means 20 s.
	StopTimeout time.Duration
}

// Server is a running server.
type Server struct {
	cfg      Config
	port     int
	password string
	cmd      *exec.Cmd
	done     chan struct{}
	err      error // valid once done is closed
}

// Start creates the data directory, empty or as a copy of Config.Template, if there is none, starts the server and waits until the superuser can connect.
// It returns an error, and leaves the data as it is, if the data belongs to a major version that is not installed or if another
// server is running on it.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = 20 * time.Second
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve the server's directory: %w", err)
	}
	cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the server's directory: %w", err)
	}
	data := filepath.Join(dir, "data")
	major, err := dataMajor(data)
	if err == nil && major == 0 && cfg.Template != "" {
		if err := copyData(cfg.Template, dir); err != nil {
			return nil, err
		}
		major, err = dataMajor(data)
	}
	if err != nil {
		return nil, err
	}
	bin, err := binariesFor(major, data)
	if err != nil {
		return nil, err
	}
	user, err := account(data)
	if err != nil {
		return nil, err
	}
	password, err := keepPassword(filepath.Join(dir, "password"), major == 0)
	if err != nil {
		return nil, err
	}
	if major == 0 {
		if err := initialize(ctx, bin, cfg, user, password); err != nil {
			return nil, err
		}
	} else if err := claim(ctx, data, user); err != nil {
		return nil, err
	}
	return launch(ctx, bin, cfg, user, password)
}

// launch starts the server. It retries, up to five times in all, if a port that it picked was taken before the server could
// bind it.
func launch(ctx context.Context, bin Binaries, cfg Config, user *childprocess.User, password string) (*Server, error) {
	for attempt := 1; ; attempt++ {
		port := cfg.Port
		if port == 0 {
			var err error
			if port, err = freeport.Take(); err != nil {
				return nil, err
			}
		}
		s := &Server{cfg: cfg, port: port, password: password, done: make(chan struct{})}
		err := s.start(ctx, bin, user)
		if err == nil {
			return s, nil
		}
		if cfg.Port != 0 || attempt == 5 || ctx.Err() != nil || !taken(port) {
			return nil, err
		}
	}
}

func (s *Server) start(ctx context.Context, bin Binaries, user *childprocess.User) error {
	log, err := openLog(s.LogFile())
	if err != nil {
		return err
	}
	defer log.Close()
	begin, err := log.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	data, release, err := reach(filepath.Join(s.cfg.Dir, "data"), user)
	if err != nil {
		return err
	}
	defer release()

	args := []string{"-D", data.path}
	for name, value := range s.settings() {
		args = append(args, "-c", name+"="+value)
	}
	s.cmd = exec.Command(filepath.Join(bin.Dir, "postgres"), args...)
	s.cmd.Dir = "/"
	s.cmd.Env = Environment()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.ExtraFiles = data.files
	// SIGQUIT, not SIGKILL, so that the server ends its own processes and frees its shared memory.
	if err := childprocess.Start(s.cmd, childprocess.Options{User: user, DeathSignal: syscall.SIGQUIT}); err != nil {
		return startError(err, user)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	if err := s.awaitReady(ctx); err != nil {
		stopErr := s.shutDown(syscall.SIGQUIT, 10*time.Second)
		return errors.Join(fmt.Errorf("start PostgreSQL: %w%s", err, tail(s.LogFile(), begin)), stopErr)
	}
	return nil
}

func (s *Server) settings() map[string]string {
	all := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": "",
		"log_destination":         "stderr",
		"logging_collector":       "off",
		"log_line_prefix":         "%m [%p] %u@%d ",
		"max_connections":         "200",
	}
	if s.cfg.Volatile {
		all["fsync"], all["full_page_writes"], all["synchronous_commit"] = "off", "off", "off"
	}
	for name, value := range s.cfg.Settings {
		all[name] = value
	}
	return all
}

// awaitReady polls, because the server does not signal when it is ready.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		// If another server owns this port, it rejects our password, and ours exits because the port is taken: its exit is the
		// better explanation.
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "28P01" {
			select {
			case <-s.done:
			case <-time.After(2 * time.Second):
				return fmt.Errorf("the password in %s does not match the data: %w", s.cfg.Dir, err)
			}
		}
		select {
		case <-s.done:
			return fmt.Errorf("the server exited: %w", s.exit())
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready in time: %w", err)
		case <-tick.C:
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := pgconfig.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// URL is the superuser's connection URL for a database. It contains the password.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(Superuser, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Port is the port that the server listens on.
func (s *Server) Port() int { return s.port }

// PID is the process id of the server's main process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// LogFile is the path of the server's log.
func (s *Server) LogFile() string { return filepath.Join(s.cfg.Dir, "postgres.log") }

// Done returns a channel that is closed when the server has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.done }

// Kill ends the server's main process without a shutdown, as a crash would, and waits for its end. For tests.
func (s *Server) Kill() error {
	err := s.cmd.Process.Kill()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	<-s.done
	return nil
}

// Stop ends all sessions, writes a checkpoint and shuts down. After Config.StopTimeout it stops the server without a checkpoint;
// the server then recovers at its next start. Stopping a stopped server is not an error.
func (s *Server) Stop() error { return s.shutDown(syscall.SIGINT, s.cfg.StopTimeout) }

func (s *Server) shutDown(first syscall.Signal, limit time.Duration) error {
	for _, step := range []struct {
		signal syscall.Signal
		limit  time.Duration
	}{{first, limit}, {syscall.SIGQUIT, 10 * time.Second}, {syscall.SIGKILL, 10 * time.Second}} {
		if err := s.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}
		select {
		case <-s.done:
			return nil
		case <-time.After(step.limit):
		}
	}
	return errors.New("stop PostgreSQL: the process is still running after SIGKILL")
}

// exit returns how the server ended.
func (s *Server) exit() error {
	if s.err == nil {
		return errors.New("exit status 0")
	}
	return s.err
}

func taken(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return true
	}
	return l.Close() != nil
}
