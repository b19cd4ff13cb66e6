// Package node runs nodes of a cluster on this machine: containerd, kubelet, kube-proxy and kube-router's firewall, in namespaces of their own, connected by a
// bridge. When the first process of a node is killed, the kernel ends everything on the node.
package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"lavka/tests/cluster/internal/isolated"
	"lavka/tests/cluster/internal/logtail"
)

// Address is the bridge's, at which nodes reach the API server.
const Address = "10.89.0.1"

const (
	bridge = "lavka"
	mask   = "/24"
	pods   = "10.244.0.0/16"
)

// DNS is the address of the cluster's name server.
const DNS = "10.96.0.10"

// Balancer is the address of a load balancer, which has the first node carry its traffic.
const Balancer = "10.89.1.1"

// Balance gives the bridge a way to the load balancer.
func Balance() error { return ip([][]string{{"route", "add", Balancer, "via", AddressOf(1)}}) }

// Config is what the first process of a node is told.
type Config struct {
	Number, Of int    // from 1
	Dir        string // of its own
	CNI        string // directory of the plugins
	Kubernetes string // directory of kubelet, kube-proxy and kubectl
	KubeRouter string // the program
	Services   string // the addresses of Services
	CgroupRoot string
	// Certificates of kubelet as a server, and of those whom it serves.
	Cert, Key, ClientCA string
	// What kubelet, kube-proxy and kube-router are on the API server.
	Kubelet, Proxy, Router string
	Images                 []string // archives
	Pause                  string   // name of the image
	Tags                   []Tag
}

// Tag is another name of an image.
type Tag struct{ Image, Name string }

// Name is also that of the host.
func (c Config) Name() string { return "node-" + strconv.Itoa(c.Number) }

// AddressOf is that of a node.
func AddressOf(number int) string { return fmt.Sprintf("10.89.0.%d", 10+number) }

func podsOf(number int) string { return fmt.Sprintf("10.244.%d.0/24", number) }

// Node is one that runs.
type Node struct {
	Name    string
	program *isolated.Program
	log     string
	done    chan struct{} // closed when it has ended
}

// Bridge makes the bridge, to which Start connects nodes.
func Bridge() error {
	return ip([][]string{{"link", "set", "lo", "up"}, {"link", "add", bridge, "type", "bridge"}, {"address", "add", Address + mask, "dev", bridge}, {"link", "set", bridge, "up"}})
}

// Start returns when the node is ready and its firewall runs. The argument has this program call Run.
func Start(ctx context.Context, argument string, c Config) (_ *Node, err error) {
	program, err := isolated.Command(context.WithoutCancel(ctx), argument)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	n := &Node{Name: c.Name(), program: program, log: filepath.Join(c.Dir, "node.log"), done: make(chan struct{})}
	log, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	said, told, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	program.Env, program.Stdout, program.Stderr = []string{"HOME=/root", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, told, log
	err = program.Start()
	told.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", n.Name, err)
	}
	go func() {
		defer close(n.done)
		_ = program.Wait() // how it ended is in its log
	}()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w\n%s", n.Name, err, logtail.Of(n.log, 40)), n.Kill())
		}
	}()

	if err := ip([][]string{
		{"link", "add", n.Name, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(program.Process.Pid)},
		{"link", "set", n.Name, "master", bridge, "up"},
		{"route", "add", podsOf(c.Number), "via", AddressOf(c.Number)},
	}); err != nil {
		return nil, err
	}
	if err := program.Tell(c); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { said.Close() })
	defer stop()
	line, err := bufio.NewReader(said).ReadString('\n')
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil || line != ready {
		return nil, errors.New("it is not ready")
	}
	return n, nil
}

// Kill ends everything on the node, as if its power failed.
func (n *Node) Kill() error {
	if err := n.program.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", n.Name, err)
	}
	<-n.done
	return nil
}

// Volume is the directory of a volume on the node.
func (n *Node) Volume(name string) string { return filepath.Join(filepath.Dir(n.log), name) }

// Failed returns an error if the node has ended, with the end of its log.
func (n *Node) Failed() error {
	select {
	case <-n.done:
		return fmt.Errorf("%s has ended: %v\n%s", n.Name, n.program.ProcessState, logtail.Of(n.log, 40))
	default:
		return nil
	}
}

// Missing says what this machine lacks to run nodes.
func Missing() error {
	var missing []error
	if os.Getuid() != 0 {
		missing = append(missing, errors.New("root: namespaces, mounts and control groups need it"))
	}
	for _, p := range []struct{ program, of string }{
		{"containerd", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"}, {"iptables", "iptables"}, {"iptables-save", "iptables"}, {"ipset", "ipset"},
		{"ip", "iproute2"}, {"mount", "mount"}, {"docker", "docker.io"},
	} {
		if _, err := exec.LookPath(p.program); err != nil {
			missing = append(missing, fmt.Errorf("%s (Debian's package %s)", p.program, p.of))
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		missing = append(missing, fmt.Errorf("control groups: %w", err))
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		missing = append(missing, fmt.Errorf("br_netfilter in the kernel, without which no policy holds on a bridge: %w", err))
	}
	if len(missing) == 0 {
		if out, err := exec.Command("docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
			missing = append(missing, fmt.Errorf("a Docker engine: %w\n%s", err, bytes.TrimSpace(out)))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("a node needs what is missing here:\n%w", errors.Join(missing...))
}

func ip(commands [][]string) error {
	for _, args := range commands {
		if err := run("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

func run(program string, args ...string) error {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
