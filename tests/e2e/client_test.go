package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// client sends requests to the shop.
type client struct {
	base    string
	token   string
	lasting *lasting // replaces token
	http    *http.Client
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// get returns a member by a path such as "user.id" or "items.0.id", or nil if there is none.
func (a answer) get(path string) any {
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

func (a answer) str(path string) string {
	if v := a.get(path); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (a answer) int(path string) int64 {
	n, err := strconv.ParseInt(a.str(path), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (a answer) code() string { return a.str("code") }

// do sends the body as JSON, or as it is if it is []byte, and checks request and
// response against the contract and for secrets. Headers are pairs.
func (c *client) do(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var sent []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		sent = b
	default:
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return answer{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(sent))
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	token := c.token
	if c.lasting != nil {
		if token, err = c.lasting.get(ctx); err != nil {
			return answer{}, err
		}
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	hc := c.http
	if hc == nil {
		hc = http.DefaultClient
	}
	resp, err := hc.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{resp.StatusCode, resp.Header, got}
	if err := secrets.exchange(r, sent, resp.Header, got); err != nil {
		return a, err
	}
	if method == http.MethodHead || checker == nil {
		return a, nil
	}
	return a, checker.Check(r, sent, resp, got)
}

// lasting is the token of a user who logs in again before it expires: on a busy machine, all the tests take longer than a token lasts.
type lasting struct {
	login func(context.Context) (answer, error)
	mu    sync.Mutex
	token string
	until time.Time
}

func (l *lasting) get(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.until) {
		return l.token, nil
	}
	a, err := l.login(ctx)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("log in: %s", a)
	}
	if err != nil {
		return "", err
	}
	l.token, l.until = a.str("access_token"), now.Add(time.Duration(a.int("expires_in"))*time.Second/2)
	return l.token, nil
}

// call is do, with any error failing the test.
func (c *client) call(t *testing.T, method, path string, body any, headers ...string) answer {
	t.Helper()
	a, err := c.do(t.Context(), method, path, body, headers...)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return a
}

// want is call with an expected status and, for a problem, an expected code.
func (c *client) want(t *testing.T, status int, code, method, path string, body any, headers ...string) answer {
	t.Helper()
	a := c.call(t, method, path, body, headers...)
	if a.status != status || a.code() != code {
		t.Errorf("%s %s: %s, want %d %s", method, path, a, status, code)
	}
	return a
}

// plain gets a path that is in no contract.
func (c *client) plain(ctx context.Context, path string) (a answer, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return a, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}
