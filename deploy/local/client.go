package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"lavka/libs/service/directhttp"
)

// client sends requests to a shop. When show is set, it prints each request and response there.
type client struct {
	base     string
	payments string // the base of the paths below /payment, if it is another one
	show     io.Writer
}

type credentials struct {
	Login    string `json:"login"`
	Password string `json:"password"`
}

// call is one request.
type call struct {
	method, path string
	token        string // empty if not logged in
	header       map[string]string
	body         any // nil for no body
}

// answer is one response.
type answer struct {
	status int
	header http.Header
	raw    []byte
	fields map[string]any // numbers as json.Number; nil if the body is not an object
}

// text returns a member as text: a string, or a number exactly as it was sent; "" if there is none.
func (a answer) text(name string) string { return textOf(a.fields[name]) }

func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		return ""
	}
}

// object returns a member that is an object, or nil.
func (a answer) object(name string) map[string]any {
	m, _ := a.fields[name].(map[string]any)
	return m
}

// items returns the items of a page.
func (a answer) items() []map[string]any {
	list, _ := a.fields["items"].([]any)
	var all []map[string]any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// do sends a request. Its path may also be a whole URL. It fails after 30 s.
func (c client) do(ctx context.Context, call call) (answer, error) {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = json.Marshal(call.body); err != nil {
			return answer{}, fmt.Errorf("write the request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	url := call.path
	switch {
	case c.payments != "" && strings.HasPrefix(url, "/payment/"):
		url = c.payments + url
	case strings.HasPrefix(url, "/"):
		url = c.base + url
	}
	req, err := http.NewRequestWithContext(ctx, call.method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("write the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if call.token != "" {
		req.Header.Set("Authorization", "Bearer "+call.token)
	}
	for name, value := range call.header {
		req.Header.Set(name, value)
	}
	c.showRequest(req, body)
	resp, err := directhttp.Client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("the shop does not respond: %w", err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		return answer{}, fmt.Errorf("read the response: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(a.raw))
	decoder.UseNumber()
	if err := decoder.Decode(&a.fields); err != nil {
		a.fields = nil
	}
	c.showAnswer(a)
	return a, nil
}

func (c client) showRequest(r *http.Request, body []byte) {
	if c.show == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  → %s %s\n", r.Method, strings.TrimPrefix(r.URL.String(), c.base))
	for _, name := range []string{"Authorization", "Idempotency-Key", "Prefer"} {
		if value := r.Header.Get(name); value != "" {
			fmt.Fprintf(&b, "    %s: %s\n", name, shorten(value))
		}
	}
	b.WriteString(pretty(body))
	fmt.Fprint(c.show, b.String())
}

func (c client) showAnswer(a answer) {
	if c.show == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  ← %d %s\n", a.status, http.StatusText(a.status))
	for _, name := range []string{"Location", "Retry-After", "Idempotent-Replayed", "Www-Authenticate"} {
		if value := a.header.Get(name); value != "" {
			fmt.Fprintf(&b, "    %s: %s\n", name, value)
		}
	}
	b.WriteString(pretty(a.raw))
	fmt.Fprintln(c.show, b.String())
}

func pretty(body []byte) string {
	if len(body) == 0 {
		return ""
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(body), "    ", "  "); err != nil {
		return "    " + string(body) + "\n"
	}
	return "    " + shorten(out.String()) + "\n"
}

var tokenPattern = regexp.MustCompile(`(Bearer |_token": ")([^"\s]{12})[^"\s]+`)

// shorten truncates tokens, so that a copied or watched demo gives away no session.
func shorten(text string) string { return tokenPattern.ReplaceAllString(text, "$1$2…") }
