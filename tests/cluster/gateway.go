package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lavka/tests/cluster/internal/node"
)

// The host names of the Gateway.
const shopHost, paymentHost = "shop.example", "payments.shop.example"

//go:embed nodes/traefik.yaml
var traefik []byte

const traefikModule = "github.com/traefik/traefik/v3"

// traefikSource is the directory of Traefik's module, which also has the definitions of its custom resources.
func traefikSource(ctx context.Context, root string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", traefikModule)
	cmd.Dir, cmd.Env, cmd.Stderr = filepath.Join(root, "tests/cluster/nodes/traefik"), append(os.Environ(), "GOWORK=off"), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download in %s: %w\n%s", cmd.Dir, err, out)
	}
	var module struct{ Dir string }
	return module.Dir, json.Unmarshal(out, &module)
}

// installTraefik installs an implementation of the Gateway API, and does what a cloud does for its load balancer and in the DNS.
func (d *day) installTraefik(ctx context.Context) error {
	if err := d.ApplyDefinitions(ctx, filepath.Join(d.Traefik, "docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml")); err != nil {
		return err
	}
	if err := d.ApplyText(ctx, traefik); err != nil {
		return err
	}
	status := fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":%q}]}}}`, node.Balancer)
	if _, err := d.Kubectl(ctx, "-n", "traefik", "patch", "service", "traefik", "--subresource=status", "--type=merge", "-p", status); err != nil {
		return err
	}
	if err := node.Balance(); err != nil {
		return err
	}
	hosts := filepath.Join(d.Home, "hosts")
	if err := os.WriteFile(hosts, fmt.Appendf(nil, "127.0.0.1 localhost\n%s %s %s\n", node.Balancer, shopHost, paymentHost), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil { // in this program's namespace of mounts
		return fmt.Errorf("mount %s: %w", hosts, err)
	}
	_, err := d.Kubectl(ctx, "-n", "traefik", "rollout", "status", "deployment/traefik", "--timeout=2m")
	return err
}

// balanced does something while the shop can be reached through the load balancer.
func (d *day) balanced(ctx context.Context, do func() error) error {
	if err := d.answers(ctx); err != nil {
		return err
	}
	return do()
}

// routed tries the routes, limits and timeouts of the gateway.
func (d *day) routed(ctx context.Context) error {
	if _, err := d.Kubectl(ctx, "-n", "lavka", "wait", "gateway/lavka", "--for=condition=Programmed", "--timeout=1m"); err != nil {
		return err
	}
	for _, condition := range []string{"Accepted", "ResolvedRefs"} {
		if _, err := d.Kubectl(ctx, "-n", "lavka", "wait", "httproute", "--all", "--timeout=1m", `--for=jsonpath={.status.parents[0].conditions[?(@.type=="`+condition+`")].status}=True`); err != nil {
			return err
		}
	}
	return d.shop.reached(d, ctx, func() error {
		c, err := d.newClient()
		if err != nil {
			return err
		}
		return errors.Join(c.operations(ctx), c.limits(ctx), d.seen(ctx), d.slow(ctx), d.frozen(ctx, c))
	})
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// operations sends a request for each operation of the contracts. Those of the payment provider must reach the shop by the host name that is for them, all
// others by the other one, and none by both.
func (c *client) operations(ctx context.Context) error {
	for _, service := range services {
		a, err := c.do(ctx, http.MethodGet, "/"+service+"/openapi.json", nil, nil, http.StatusOK)
		if err != nil {
			return err
		}
		var contract struct {
			Paths map[string]map[string]json.RawMessage
		}
		if err := json.Unmarshal(a.text, &contract); err != nil {
			return fmt.Errorf("the contract of %s: %w", service, err)
		}
		tried := 0
		for path, operations := range contract.Paths {
			path = parameter.ReplaceAllString(path, "1")
			right, wrong := c.clients, c.provider
			if strings.HasPrefix(path, "/payment/") {
				right, wrong = wrong, right
			}
			for operation := range operations {
				method := strings.ToUpper(operation)
				if method == "PARAMETERS" {
					continue
				}
				if err := c.expect(ctx, method, right+path, "{}", 0, true); err != nil {
					return err
				}
				if err := c.expect(ctx, method, wrong+path, "{}", http.StatusNotFound, false); err != nil {
					return err
				}
				tried++
			}
		}
		if tried < 10 {
			return fmt.Errorf("the contract of %s has only %d operations", service, tried)
		}
		fmt.Printf("    %d operations of %s have a route by one of the host names, and none by the other\n", tried, service)
	}
	return nil
}

// expect sends a request without a token, and wants a status, unless it is 0, from the shop or from the gateway.
func (c *client) expect(ctx context.Context, method, url, body string, status int, fromShop bool) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: read the response: %w", method, url, err)
	}
	// Every response of a service has this header.
	if is := response.Header.Get("Content-Security-Policy") != ""; is != fromShop || status != 0 && response.StatusCode != status {
		return fmt.Errorf("%s %s with %d bytes: %d, from a service: %v; this should be %d, %v\n%s", method, url, len(body), response.StatusCode, is, status, fromShop, bytes.TrimSpace(text))
	}
	return nil
}

// limits sends what the services refuse, and what is so large that the gateway does.
func (c *client) limits(ctx context.Context) error {
	const kiB = 1 << 10
	for _, try := range []struct {
		url      string
		size     int
		status   int
		fromShop bool
	}{
		{c.clients + "/auth/register", 70 * kiB, http.StatusRequestEntityTooLarge, true},
		{c.clients + "/auth/register", 100 * kiB, http.StatusRequestEntityTooLarge, false},
		{c.clients + "/products/batch", 1000 * kiB, http.StatusUnauthorized, true},
		{c.clients + "/products/batch", 1060 * kiB, http.StatusRequestEntityTooLarge, false},
		{c.provider + "/payment/webhook", 18 * kiB, http.StatusRequestEntityTooLarge, true},
		{c.provider + "/payment/webhook", 21 * kiB, http.StatusRequestEntityTooLarge, false},
		{c.clients + "/auth/x%2Fy", 2, http.StatusBadRequest, false}, // another program may take it for /auth/x/y
	} {
		if err := c.expect(ctx, http.MethodPost, try.url, strings.Repeat("x", try.size), try.status, try.fromShop); err != nil {
			return err
		}
	}
	return nil
}

// slow sends a part of a request. The gateway must end it after 15 s.
func (d *day) slow(ctx context.Context) error {
	c, err := d.newClient()
	if err != nil {
		return err
	}
	config := c.http.Transport.(*http.Transport).TLSClientConfig
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", shopHost+":443")
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	began := time.Now()
	if _, err := fmt.Fprintf(conn, "POST /auth/login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", shopHost); err != nil {
		return err
	}
	how := "closed the connection"
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch {
	case ctx.Err() != nil:
		return errors.New("after a minute, the gateway still waits for the rest of a request")
	case err == nil:
		how = fmt.Sprint("responded with ", response.StatusCode)
		response.Body.Close()
	}
	took := time.Since(began)
	if took < 10*time.Second {
		return fmt.Errorf("a slow request was ended after %v (%s)", took, how)
	}
	fmt.Printf("    after %.1f s of half a request, the gateway %s\n", took.Seconds(), how)
	return nil
}

// frozen stops catalog's replicas from doing anything. The gateway must respond after 25 s.
func (d *day) frozen(ctx context.Context, c *client) error {
	thaw, err := d.freeze(ctx, "catalog")
	if err != nil {
		return err
	}
	began := time.Now()
	err = c.expect(ctx, http.MethodGet, c.clients+"/products", "", http.StatusGatewayTimeout, false)
	took := time.Since(began)
	if err = errors.Join(err, thaw()); err != nil {
		return err
	}
	if took < 20*time.Second {
		return fmt.Errorf("the gateway gave up after %v", took)
	}
	fmt.Printf("    after %.1f s without a response of catalog, the gateway responded with 504\n", took.Seconds())
	return d.Settled(ctx)
}

// seen wants auth to know the addresses of clients, for its limits. Here, all come from the bridge.
func (d *day) seen(ctx context.Context) error {
	log, err := d.Kubectl(ctx, "-n", "lavka", "logs", "-l", "app.kubernetes.io/component=server,app.kubernetes.io/name=auth", "--tail=100")
	if err != nil {
		return err
	}
	client := regexp.MustCompile(`"route":"/auth/register".*"client":"([^"]*)"`).FindAllStringSubmatch(log, -1)
	if len(client) == 0 {
		return errors.New("auth has logged no attempt to register")
	}
	for _, c := range client {
		if c[1] != node.Address {
			return fmt.Errorf("auth takes a client at %s for one at %s", node.Address, c[1])
		}
	}
	return nil
}

// freeze stops the processes of a service's replicas. Those that /proc shows here are all of this cluster.
func (d *day) freeze(ctx context.Context, service string) (thaw func() error, err error) {
	out, err := d.Kubectl(ctx, "-n", "lavka", "get", "pod", "-l", "app.kubernetes.io/component=server,app.kubernetes.io/name="+service, "-o", "jsonpath={.items[*].metadata.uid}")
	if err != nil {
		return nil, err
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, file := range groups {
		group, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil || !bytes.HasPrefix(command, []byte("/service\x00")) {
			continue
		}
		for uid := range strings.FieldsSeq(out) {
			if bytes.Contains(group, []byte("pod"+uid)) {
				id, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				if err != nil {
					return nil, err
				}
				ids = append(ids, id)
			}
		}
	}
	if want := len(strings.Fields(out)); len(ids) != want {
		return nil, fmt.Errorf("%s has %d Pods and %d processes", service, want, len(ids))
	}
	signal := func(s syscall.Signal) error {
		var errs []error
		for _, id := range ids {
			errs = append(errs, syscall.Kill(id, s))
		}
		return errors.Join(errs...)
	}
	return func() error { return signal(syscall.SIGCONT) }, signal(syscall.SIGSTOP)
}
