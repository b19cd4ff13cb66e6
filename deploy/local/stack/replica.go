package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"lavka/libs/host/childprocess"
	"lavka/libs/service/directhttp"
)

// Replica is one process of a service. If it ends without being stopped, it is restarted at the same addresses.
type Replica struct {
	Service      string
	Name         string // the service's name, with a number if there are several replicas
	Addr         string
	InternalAddr string

	command     func() *exec.Cmd
	output      *Lines
	log         *slog.Logger
	stopTimeout time.Duration

	mu      sync.Mutex
	process *process // the current or last one
	wanted  bool
	quit    chan struct{} // closed when the process is no longer wanted
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid when done is closed
}

// URL returns the replica's own address, without the gateway.
func (r *Replica) URL() string { return baseURL(r.Addr) }

// InternalURL returns the address of its probes and metrics.
func (r *Replica) InternalURL() string { return baseURL(r.InternalAddr) }

// Start starts the process and waits until it is ready and can do all of its work. It fails if the process ends before that, and does nothing if one
// is running.
func (r *Replica) Start(ctx context.Context) error {
	p, quit, err := r.begin()
	if p == nil {
		return err
	}
	if err := r.awaitReady(ctx, p.done); err != nil {
		select {
		case <-p.done:
			err = fmt.Errorf("%s ended before it was ready (%w); its last output: %s", r.Name, p.exit(), r.output.Last())
		default:
		}
		return errors.Join(err, r.Stop())
	}
	go r.supervise(p, quit)
	return nil
}

// Launch starts the process and does not wait for it. It does nothing if one is running.
func (r *Replica) Launch() error {
	p, quit, err := r.begin()
	if p == nil {
		return err
	}
	go r.supervise(p, quit)
	return nil
}

// begin starts the process, which is wanted from now on. It returns nil if one is running, or if that failed.
func (r *Replica) begin() (*process, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wanted {
		return nil, nil, nil
	}
	p, err := r.launch()
	if err != nil {
		return nil, nil, err
	}
	r.wanted, r.quit = true, make(chan struct{})
	return p, r.quit, nil
}

// AwaitReady returns when the replica is ready and can do all of its work, or with an error when ctx ends, which says what is wrong.
func (r *Replica) AwaitReady(ctx context.Context) error { return r.awaitReady(ctx, nil) }

func (r *Replica) awaitReady(ctx context.Context, ended <-chan struct{}) error {
	var why error
	begin, told := time.Now(), false
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := ready(ctx, r.InternalURL())
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			why = err
		}
		if !told && time.Since(begin) > patience {
			told = true
			r.log.Warn("waiting for "+r.Name, "reason", why)
		}
		select {
		case <-ended:
			return errors.New("it has ended")
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", r.Name, cmp.Or(why, err))
		case <-time.After(pause):
		}
	}
}

// patience is how long a replica may be unready before the log says why.
const patience = 15 * time.Second

// ready returns an error unless /readyz responds with 200, and with nothing that the replica can't do: where no replica can do all of its work, it
// is ready for what works, but the shop does not work.
func ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := directhttp.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var said struct {
		Status any // a text, or a number in a problem
		Detail string
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said); err != nil || said.Detail == "" {
		said.Detail = resp.Status
	}
	if resp.StatusCode != http.StatusOK || said.Status == "cold_start" {
		return errors.New(said.Detail)
	}
	return nil
}

// launch starts a process. The caller holds mu.
func (r *Replica) launch() (*process, error) {
	p := &process{cmd: r.command(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = r.output, r.output
	p.cmd.WaitDelay = time.Second
	if err := childprocess.Start(p.cmd, childprocess.Options{DeathSignal: syscall.SIGKILL}); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.Name, err)
	}
	go func() {
		p.err = errors.Join(p.cmd.Wait(), r.output.Flush())
		close(p.done)
	}()
	r.process = p
	return p, nil
}

func (r *Replica) supervise(p *process, quit <-chan struct{}) {
	for pause := newBackoff(); ; {
		select {
		case <-quit:
			return
		case <-p.done:
		}
		delay := pause.next()
		r.log.Error(r.Name+" ended unexpectedly; restarting it", "reason", p.exit(), "in", delay)
		select {
		case <-quit:
			return
		case <-time.After(delay):
		}
		if next := r.again(quit); next != nil {
			p = next
		}
	}
}

// again starts the process again. It returns nil if that failed, or if the process is no longer wanted.
func (r *Replica) again(quit <-chan struct{}) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-quit:
		return nil
	default:
	}
	p, err := r.launch()
	if err != nil {
		r.log.Error(r.Name+" did not start", "error", err)
		return nil
	}
	return p
}

// Stop sends SIGTERM, so that the process finishes what it is doing, and kills it after StopTimeout. It stays down until Start.
func (r *Replica) Stop() error {
	p := r.giveUp()
	if p == nil {
		return nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", r.Name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(r.stopTimeout):
	}
	r.log.Warn(r.Name+" did not stop in time; killing it", "after", r.stopTimeout)
	return r.kill(p)
}

// Crash kills the process; it stays down until Start.
func (r *Replica) Crash() error {
	p := r.giveUp()
	if p == nil {
		return nil
	}
	return r.kill(p)
}

// Kill kills the process, which is then restarted as after any other crash.
func (r *Replica) Kill() error {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p == nil {
		return nil
	}
	return r.kill(p)
}

// Restart stops the process gracefully and starts it again.
func (r *Replica) Restart(ctx context.Context) error {
	if err := r.Stop(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("restart %s: %w", r.Name, err)
	}
	return r.Start(ctx)
}

// Signal sends the process a signal, and does not wait for its effect.
func (r *Replica) Signal(s syscall.Signal) error {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s was never started", r.Name)
	}
	return p.signal(s)
}

// PID returns the id of the current or last process, or 0 if there was none.
func (r *Replica) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	return r.process.cmd.Process.Pid
}

func (r *Replica) giveUp() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wanted {
		return nil
	}
	r.wanted = false
	close(r.quit)
	return r.process
}

func (r *Replica) kill(p *process) error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", r.Name, err)
	}
	<-p.done
	return nil
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// backoff computes the pause before a restart: it doubles each time up to longestPause, and starts over when there was no restart for calm.
type backoff struct {
	delay time.Duration
	last  time.Time
}

const shortestPause, longestPause, calm = 200 * time.Millisecond, 10 * time.Second, 30 * time.Second

func newBackoff() *backoff { return &backoff{delay: shortestPause, last: time.Now()} }

func (b *backoff) next() time.Duration {
	now := time.Now()
	if now.Sub(b.last) > calm {
		b.delay = shortestPause
	}
	delay := b.delay
	b.delay, b.last = min(2*b.delay, longestPause), now
	return delay
}
