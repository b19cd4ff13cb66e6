// Package controlplane runs etcd, the API server and the controllers of a Kubernetes cluster without nodes, on free ports of 127.0.0.1. It needs no
// privileges. The processes do not outlive this program, whatever ends it.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"lavka/libs/host/freeport"
)

const (
	services  = "10.96.0.0/16"
	serviceIP = "10.96.0.1" // of the API server itself
)

// ControlPlane is one that runs.
type ControlPlane struct {
	dir        string // certificates, kubeconfigs, logs and etcd's data
	programs   string
	processes  []*process // in the order of their start
	apiserver  string     // URL
	Kubeconfig string     // of an administrator
}

// Start returns when the API server is ready. The programs are those of package programs; dir must be empty.
func Start(ctx context.Context, programs, dir string) (_ *ControlPlane, err error) {
	c := &ControlPlane{dir: dir, programs: programs, Kubeconfig: filepath.Join(dir, "admin.kubeconfig")}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	var ports [4]int
	for i := range ports {
		if ports[i], err = freeport.Take(); err != nil {
			return nil, err
		}
	}
	etcd, peer, secure, controllers := url(ports[0]), url(ports[1]), ports[2], ports[3]
	c.apiserver = url(secure)
	if err := c.certificates(); err != nil {
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
	if err := c.start("kube-apiserver", "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(secure), "--endpoint-reconciler-type=none",
		"--etcd-servers="+etcd, "--etcd-cafile="+file("ca.crt"), "--etcd-certfile="+file("etcd.crt"), "--etcd-keyfile="+file("etcd.key"),
		"--client-ca-file="+file("ca.crt"), "--tls-cert-file="+file("apiserver.crt"), "--tls-private-key-file="+file("apiserver.key"),
		"--service-cluster-ip-range="+services, "--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("accounts.key"), "--service-account-signing-key-file="+file("accounts.key")); err != nil {
		return nil, err
	}
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	return c, c.start("kube-controller-manager", "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(controllers), "--kubeconfig="+file("controllers.kubeconfig"),
		"--leader-elect=false", "--use-service-account-credentials", "--service-account-private-key-file="+file("accounts.key"), "--root-ca-file="+file("ca.crt"))
}

func url(port int) string { return "https://127.0.0.1:" + strconv.Itoa(port) }

func (c *ControlPlane) certificates() error {
	a, err := newAuthority(c.dir)
	if err != nil {
		return err
	}
	for name, subject := range map[string]pkix.Name{
		"etcd": {CommonName: "etcd"}, "apiserver": {CommonName: "kube-apiserver"},
		"admin": {CommonName: "admin", Organization: []string{"system:masters"}}, "controllers": {CommonName: "system:kube-controller-manager"},
	} {
		if err := a.issue(name, subject); err != nil {
			return err
		}
	}
	for _, client := range []string{"admin", "controllers"} {
		text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"lavka","contexts":[{"name":"lavka","context":{"cluster":"lavka","user":%[1]q}}],`+
			`"clusters":[{"name":"lavka","cluster":{"server":%[2]q,"certificate-authority":%[3]q}}],"users":[{"name":%[1]q,"user":{"client-certificate":%[4]q,"client-key":%[5]q}}]}`,
			client, c.apiserver, filepath.Join(c.dir, "ca.crt"), filepath.Join(c.dir, client+".crt"), filepath.Join(c.dir, client+".key"))
		if err := os.WriteFile(filepath.Join(c.dir, client+".kubeconfig"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err = a.newKey("accounts")
	return err
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
