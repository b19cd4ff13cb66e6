package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// unrouted are paths that the gateway routes to no service: unknown ones, those of internal ports, and those that two programs could parse differently.
var unrouted = []string{
	"/", "/nope", "/auth", "/productsx", "/metrics", "/readyz", "/livez", "/catalog/metrics", "/transactions/1", "/payment/webhook/", "/payment", "/admin",
	"//users", "/users//1", "/auth/../users", "/auth/./login", "/auth/..", "/auth/%2e%2e/metrics", "/auth/%2E%2E/metrics", "/auth%2Flogin", "/auth/..%2fmetrics",
	"/auth/..%5cmetrics", `/auth/..\metrics`, "/users/;/../../metrics", "/.well-known/../metrics",
}

// paths requests every operation of the contracts, and every unrouted path.
func (p *project) paths(ctx context.Context) error {
	var errs []error
	asked := 0
	for _, service := range services {
		doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join(p.root, "services", service, "api/openapi.yaml"))
		if err != nil {
			return err
		}
		operations := [][2]string{{http.MethodGet, "/" + service + "/openapi.json"}}
		for path, item := range doc.Paths.Map() {
			for method := range item.Operations() {
				operations = append(operations, [2]string{method, parameter.ReplaceAllString(path, "1")})
			}
		}
		for _, o := range operations {
			asked++
			status, problem, err := p.ask(ctx, o[0]+" "+o[1], "")
			if err == nil && (problem.Code == "not_found" || problem.Code == "method_not_allowed" || status >= 500) {
				err = fmt.Errorf("%s %s is in services/%s/api/openapi.yaml, but the answer is %d %s: see deploy/gateway/Caddyfile", o[0], o[1], service, status, problem.Code)
			}
			errs = append(errs, err)
		}
	}
	for _, path := range unrouted {
		status, problem, err := p.ask(ctx, "GET "+path, "")
		if err == nil && (status != http.StatusNotFound || problem.Code != "not_found" || problem.Status != status || len(problem.TraceID) != 32) {
			err = fmt.Errorf("GET %s must not be routed, but the answer is %d %+v: see @crooked in deploy/gateway/Caddyfile", path, status, problem)
		}
		errs = append(errs, err)
	}
	status, problem, err := p.ask(ctx, "POST /auth/login", strings.Repeat("x", 100<<10))
	if err == nil && (status != http.StatusRequestEntityTooLarge || problem.Code != "body_too_large") {
		err = fmt.Errorf("the answer to a body of 100 KiB is %d %+v, want 413 body_too_large", status, problem)
	}
	fmt.Printf("%d operations of the contracts reach their services; %d other paths reach none\n", asked, len(unrouted))
	return errors.Join(append(errs, err)...)
}

// problem is the part of a problem document that is checked.
type problem struct {
	Code    string `json:"code"`
	Status  int    `json:"status"`
	TraceID string `json:"trace_id"`
}

// ask sends a request line unchanged, even one that no well-behaved client would send.
func (p *project) ask(ctx context.Context, line, body string) (status int, pr problem, err error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		return 0, pr, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, pr, err
	}
	request := fmt.Sprintf("%s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", line, len(body), body)
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, pr, fmt.Errorf("%s: %w", line, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, pr, fmt.Errorf("%s: %w", line, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, pr, fmt.Errorf("%s: %w", line, err)
	}
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			return 0, pr, fmt.Errorf("%s: the problem has no X-Content-Type-Options: nosniff: see handle_errors in deploy/gateway/Caddyfile", line)
		}
		if err := json.Unmarshal(text, &pr); err != nil {
			return 0, pr, fmt.Errorf("%s: the problem is not JSON: %w: %s", line, err, text)
		}
	}
	return resp.StatusCode, pr, nil
}
