package controlplane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"lavka/libs/host/childprocess"
	"lavka/tests/cluster/internal/logtail"
)

// process is a program of the control plane. Its output is in a file.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (c *ControlPlane) start(name string, args ...string) error {
	p := &process{name: name, log: filepath.Join(c.dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(c.programs, name), args...)
	// Settings such as proxies are not for servers that speak with each other on this machine.
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = c.dir, []string{"HOME=" + c.dir, "PATH=" + os.Getenv("PATH")}, log, log
	if err := childprocess.Start(p.cmd, childprocess.Options{}); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.processes = append(c.processes, p)
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in its log
	}()
	return nil
}

// Failed returns an error if a program has ended, with the end of its log.
func (c *ControlPlane) Failed() error {
	for _, p := range c.processes {
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %v\n%s", p.name, p.cmd.ProcessState, logtail.Of(p.log, 20))
		default:
		}
	}
	return nil
}

// Stop ends all programs, the last one first. Whatever does not end within ten seconds is killed. The directory is left.
func (c *ControlPlane) Stop() error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		errs = append(errs, p.stop())
	}
	c.processes = nil
	return errors.Join(errs...)
}

func (p *process) stop() error {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end %s: %w", p.name, err)
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(10 * time.Second):
		}
	}
	return fmt.Errorf("%s does not end, although it was killed", p.name)
}
