package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"lavka/tests/cluster/internal/isolated"
	"lavka/tests/cluster/internal/logtail"
)

const ready = "ready\n"

const socket = "/run/containerd/containerd.sock"

// Run is the first process of a node. It returns only if something fails.
func Run() error {
	var c Config
	if err := isolated.Enter(&c); err != nil {
		return err
	}
	if err := errors.Join(c.files(), c.network()); err != nil {
		return err
	}
	running, err := c.programs()
	if err != nil {
		for _, p := range running {
			err = fmt.Errorf("%w\nthe end of %s's log:\n%s", err, p, logtail.Of(c.log(p), 10))
		}
		return err
	}
	if _, err := os.Stdout.WriteString(ready); err != nil {
		return err
	}
	// Whatever loses its parent on the node becomes a child of its first process.
	for {
		var how syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &how, 0, nil)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("wait for children: %w", err)
		}
		if p, is := running[pid]; is {
			return fmt.Errorf("%s has ended (exit status %d, signal %d)\n%s", p, how.ExitStatus(), how.Signal(), logtail.Of(c.log(p), 30))
		}
	}
}

// files has the node see its own /run, /var/lib and /var/log.
func (c Config) files() error {
	if err := syscall.Sethostname([]byte(c.Name())); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for from, to := range map[string]string{"lib": "/var/lib", "log": "/var/log"} {
		from = filepath.Join(c.Dir, from)
		if err := os.Mkdir(from, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", to, err)
		}
	}
	return c.kernel()
}

// kernel has kubelet find the settings of the kernel that it wants, and so leave those of this machine alone.
func (c Config) kernel() error {
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		pretended := filepath.Join(c.Dir, filepath.Base(name))
		if err := os.WriteFile(pretended, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(pretended, "/proc/sys/"+name, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("pretend %s: %w", name, err)
		}
	}
	return nil
}

func (c Config) network() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return err
	}
	commands := [][]string{
		{"link", "set", "lo", "up"}, {"address", "add", AddressOf(c.Number) + mask, "dev", "eth0"}, {"link", "set", "eth0", "up"}, {"route", "add", "default", "via", Address},
	}
	for n := 1; n <= c.Of; n++ {
		if n != c.Number {
			commands = append(commands, []string{"route", "add", podsOf(n), "via", AddressOf(n)})
		}
	}
	return ip(commands)
}

// programs starts what a node consists of, and returns by their ids those that it has started.
func (c Config) programs() (map[int]string, error) {
	running := map[int]string{}
	start := func(program string, args ...string) error {
		name := filepath.Base(program)
		log, err := os.Create(c.log(name))
		if err != nil {
			return err
		}
		defer log.Close()
		cmd := exec.Command(program, args...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		running[cmd.Process.Pid] = name
		return nil
	}
	if err := c.configure(); err != nil {
		return running, err
	}
	if err := start("containerd", "--config", c.file("containerd.toml")); err != nil {
		return running, err
	}
	if err := listens(socket, time.Minute); err != nil {
		return running, err
	}
	if err := c.load(); err != nil {
		return running, err
	}
	if err := start(filepath.Join(c.Kubernetes, "kubelet"), "--config="+c.file("kubelet.json"), "--kubeconfig="+c.Kubelet, "--hostname-override="+c.Name(), "--node-ip="+AddressOf(c.Number)); err != nil {
		return running, err
	}
	if err := start(filepath.Join(c.Kubernetes, "kube-proxy"), "--config="+c.file("kube-proxy.json")); err != nil {
		return running, err
	}
	for _, condition := range []string{"create", "condition=Ready"} { // kube-router ends where there is no node
		if err := run(filepath.Join(c.Kubernetes, "kubectl"), "--kubeconfig="+c.Router, "wait", "--for="+condition, "node/"+c.Name(), "--timeout=2m"); err != nil {
			return running, err
		}
	}
	return running, start(c.KubeRouter, "--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--enable-cni=false", "--enable-ipv6=false",
		"--hostname-override="+c.Name(), "--kubeconfig="+c.Router, "--service-cluster-ip-range="+c.Services)
}

// load imports the images.
func (c Config) load() error {
	ctr := func(args ...string) error { return run("ctr", append([]string{"-n", "k8s.io"}, args...)...) }
	for _, archive := range c.Images {
		if err := ctr("images", "import", archive); err != nil {
			return err
		}
	}
	for _, t := range c.Tags {
		if err := ctr("images", "tag", "docker.io/library/"+t.Image, "docker.io/library/"+t.Name); err != nil {
			return err
		}
	}
	return nil
}

// listens waits until a program serves at a socket.
func listens(path string, patience time.Duration) error {
	late := time.After(patience)
	for {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c.Close()
		}
		select {
		case <-late:
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c Config) file(name string) string { return filepath.Join(c.Dir, name) }

func (c Config) log(program string) string { return c.file(program + ".log") }
