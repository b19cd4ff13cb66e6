// Package controlplane runs etcd, the API server and the controllers of a Kubernetes cluster on free ports of 127.0.0.1, and, if there are to be nodes, a
// scheduler. It needs no privileges. The processes do not outlive this program, whatever ends it.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"lavka/libs/host/freeport"
)

const (
	Services  = "10.96.0.0/16" // the addresses of Services
	serviceIP = "10.96.0.1"    // of the API server itself
)

// ControlPlane is one that runs.
type ControlPlane struct {
	dir        string // certificates, kubeconfigs, logs and etcd's data
	programs   string
	processes  []*process // in the order of their start
	authority  *authority
	apiserver  string // URL
	forNodes   string // its URL for nodes, if there are any
	Kubeconfig string // of an administrator
}

// usual is the port of the API server for nodes, which policies name.
const usual = 6443

// Start returns when the API server is ready. The programs are those of package programs; dir must be empty. Nodes, if there are to be any, reach the API
// server at the address; it is then on all addresses, so this must be a network namespace of the cluster's own.
func Start(ctx context.Context, programs, dir, address string) (_ *ControlPlane, err error) {
	c := &ControlPlane{dir: dir, programs: programs, Kubeconfig: filepath.Join(dir, "admin.kubeconfig")}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	var ports [5]int
	for i := range ports {
		if ports[i], err = freeport.Take(); err != nil {
			return nil, err
		}
	}
	etcd, peer, secure, controllers := url(ports[0]), url(ports[1]), ports[2], ports[3]
	if address != "" {
		secure = usual
		c.forNodes = "https://" + net.JoinHostPort(address, strconv.Itoa(secure))
	}
	c.apiserver = url(secure)
	if err := c.certificates(address); err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }

	// Nothing here has to survive a power failure, so nothing waits for the disk.
	if err := c.start("etcd", "--name=lavka", "--data-dir="+file("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=lavka="+peer,
		"--client-cert-auth", "--trusted-ca-file="+file("ca.crt"), "--cert-file="+file("etcd.crt"), "--key-file="+file("etcd.key"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file="+file("ca.crt"), "--peer-cert-file="+file("etcd.crt"), "--peer-key-file="+file("etcd.key")); err != nil {
		return nil, err
	}
	reach := []string{"--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"}
	if address != "" {
		reach = []string{"--bind-address=0.0.0.0", "--advertise-address=" + address, "--kubelet-preferred-address-types=InternalIP",
			"--kubelet-certificate-authority=" + file("ca.crt"), "--kubelet-client-certificate=" + file("admin.crt"), "--kubelet-client-key=" + file("admin.key"),
			"--enable-admission-plugins=NodeRestriction",
			// The metrics API is another server's, to which this one forwards requests.
			"--requestheader-client-ca-file=" + file("ca.crt"), "--requestheader-allowed-names=aggregator", "--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + file("aggregator.crt"), "--proxy-client-key-file=" + file("aggregator.key"), "--enable-aggregator-routing"}
	}
	if err := c.start("kube-apiserver", append(reach, "--secure-port="+strconv.Itoa(secure),
		"--etcd-servers="+etcd, "--etcd-cafile="+file("ca.crt"), "--etcd-certfile="+file("etcd.crt"), "--etcd-keyfile="+file("etcd.key"),
		"--client-ca-file="+file("ca.crt"), "--tls-cert-file="+file("apiserver.crt"), "--tls-private-key-file="+file("apiserver.key"),
		"--service-cluster-ip-range="+Services, "--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("accounts.key"), "--service-account-signing-key-file="+file("accounts.key"))...); err != nil {
		return nil, err
	}
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	if address != "" {
		kubeconfig, err := c.Client("scheduler", pkix.Name{CommonName: "system:kube-scheduler"})
		if err != nil {
			return nil, err
		}
		if err := c.start("kube-scheduler", "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(ports[4]), "--kubeconfig="+kubeconfig, "--leader-elect=false"); err != nil {
			return nil, err
		}
	}
	return c, c.start("kube-controller-manager", "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(controllers), "--kubeconfig="+file("controllers.kubeconfig"),
		"--leader-elect=false", "--use-service-account-credentials", "--service-account-private-key-file="+file("accounts.key"), "--root-ca-file="+file("ca.crt"))
}

func url(port int) string { return "https://127.0.0.1:" + strconv.Itoa(port) }

func (c *ControlPlane) certificates(address string) (err error) {
	if c.authority, err = newAuthority(c.dir); err != nil {
		return err
	}
	for name, subject := range map[string]string{"etcd": "etcd", "apiserver": "kube-apiserver", "aggregator": "aggregator"} {
		if err := c.authority.issue(name, pkix.Name{CommonName: subject}, address); err != nil {
			return err
		}
	}
	for name, subject := range map[string]pkix.Name{
		"admin": {CommonName: "admin", Organization: []string{"system:masters"}}, "controllers": {CommonName: "system:kube-controller-manager"},
	} {
		if err := c.client(name, subject, c.apiserver); err != nil {
			return err
		}
	}
	_, err = c.authority.newKey("accounts")
	return err
}

// Client returns the kubeconfig of a client on a node, whom Kubernetes knows by subject.
func (c *ControlPlane) Client(name string, subject pkix.Name) (kubeconfig string, err error) {
	return filepath.Join(c.dir, name+".kubeconfig"), c.client(name, subject, c.forNodes)
}

// Authority is the file with the certificate of what issued all others.
func (c *ControlPlane) Authority() string { return filepath.Join(c.dir, "ca.crt") }

// Server returns the certificate of a server at an address or with a host name, and those whom its clients' certificates are of.
func (c *ControlPlane) Server(name, address string) (cert, key, authority string, err error) {
	path := filepath.Join(c.dir, name)
	return path + ".crt", path + ".key", c.Authority(), c.authority.issue(name, pkix.Name{CommonName: name}, address)
}

func (c *ControlPlane) client(name string, subject pkix.Name, server string) error {
	if err := c.authority.issue(name, subject, ""); err != nil {
		return err
	}
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"lavka","contexts":[{"name":"lavka","context":{"cluster":"lavka","user":%[1]q}}],`+
		`"clusters":[{"name":"lavka","cluster":{"server":%[2]q,"certificate-authority":%[3]q}}],"users":[{"name":%[1]q,"user":{"client-certificate":%[4]q,"client-key":%[5]q}}]}`,
		name, server, filepath.Join(c.dir, "ca.crt"), filepath.Join(c.dir, name+".crt"), filepath.Join(c.dir, name+".key"))
	return os.WriteFile(filepath.Join(c.dir, name+".kubeconfig"), []byte(text), 0o600)
}

// ready waits until the API server is ready.
func (c *ControlPlane) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("the API server was not ready within two minutes"))
	defer cancel()
	text, err := os.ReadFile(filepath.Join(c.dir, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	client, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "admin.crt"), filepath.Join(c.dir, "admin.key"))
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}}}
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.apiserver+"/readyz", nil)
		if err != nil {
			return err
		}
		if response, err := transport.RoundTrip(req); err == nil { // until it listens, there is an error
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if err := c.Failed(); err != nil {
			return err
		}
	}
}
