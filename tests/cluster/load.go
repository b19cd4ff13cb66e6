package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Requests in a second.
const reads, purchases = 40, 10

// client is one of the shop's users.
type client struct {
	addresses
	http  *http.Client
	token string
}

// newClient is a user who has not logged in. Connections are kept, as those of a browser are.
func (d *day) newClient() (*client, error) {
	authority, err := os.ReadFile(d.plane.Authority())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{MaxIdleConnsPerHost: 16, MaxConnsPerHost: 16, TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &client{addresses: d.shop.addresses, http: &http.Client{Timeout: 30 * time.Second, Transport: transport}}, nil
}

// answers says why the shop can't be reached.
func (c *client) answers(ctx context.Context) error {
	defer c.http.CloseIdleConnections()
	_, err := c.do(ctx, http.MethodGet, "/.well-known/jwks.json", nil, nil, http.StatusOK)
	return err
}

// do sends a request, and fails unless the response has one of the statuses.
func (c *client) do(ctx context.Context, method, path string, header http.Header, body []byte, statuses ...int) (answer, error) {
	base := c.clients
	if strings.HasPrefix(path, "/payment/") {
		base = c.provider
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode}
	if a.text, err = io.ReadAll(response.Body); err != nil {
		return a, fmt.Errorf("%s %s: read the response: %w", method, path, err)
	}
	for _, s := range statuses {
		if a.status == s {
			return a, nil
		}
	}
	return a, fmt.Errorf("%s %s: %d %s", method, path, a.status, bytes.TrimSpace(a.text))
}

type answer struct {
	status int
	text   []byte
}

// field is a member of the response, or of the first item of a list.
func (a answer) field(name string) string {
	var all struct{ Items []map[string]json.RawMessage }
	var one map[string]json.RawMessage
	if json.Unmarshal(a.text, &all) == nil && len(all.Items) > 0 {
		one = all.Items[0]
	} else if json.Unmarshal(a.text, &one) != nil {
		return ""
	}
	return strings.Trim(string(one[name]), `"`)
}

// buyer is a user with money, and what they buy.
type buyer struct {
	*client
	bill, product string
	price, paid   *big.Rat
}

// newBuyer logs in as a user whom lavka seed made, and pays a large amount into a new bill.
func (d *day) newBuyer(ctx context.Context) (*buyer, error) {
	c, err := d.newClient()
	if err != nil {
		return nil, err
	}
	b := &buyer{client: c, paid: big.NewRat(100_000, 1)}
	if err := b.logIn(ctx); err != nil {
		return nil, err
	}
	a, err := b.do(ctx, http.MethodGet, "/users/me", nil, nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	user := a.field("id")
	if a, err = b.do(ctx, http.MethodGet, "/products?q=Black+tea", nil, nil, http.StatusOK); err != nil {
		return nil, err
	}
	b.product = a.field("id")
	var is bool
	if b.price, is = new(big.Rat).SetString(a.field("price")); !is {
		return nil, fmt.Errorf("the product has no price: %s", a.text)
	}
	keys, err := os.ReadFile(filepath.Join(d.secrets(), "payment-keys"))
	if err != nil {
		return nil, err
	}
	key, _, _ := strings.Cut(strings.TrimSpace(string(keys)), ",")
	d.payments++
	payment := fmt.Sprint(800_000_000_000 + d.payments)
	b.bill = payment
	amount := b.paid.FloatString(0)
	signature := sha1.Sum(fmt.Appendf(nil, "%s:%s:%s:%s:%s", key, payment, user, b.bill, amount)) // services/billing/api/openapi.yaml
	body := fmt.Appendf(nil, `{"signature":"%x","transaction_id":%s,"user_id":%s,"bill_id":%s,"amount":%s}`, signature, payment, user, b.bill, amount)
	_, err = b.do(ctx, http.MethodPost, "/payment/webhook", nil, body, http.StatusOK)
	return b, err
}

const anna = `{"login":"anna","password":"five small lanterns"}`

// logIn gets a token for the user.
func (b *buyer) logIn(ctx context.Context) error {
	b.token = ""
	a, err := b.do(ctx, http.MethodPost, "/auth/login", nil, []byte(anna), http.StatusOK)
	b.token = a.field("access_token")
	return err
}

// load is a user who reads and buys.
type load struct {
	*buyer
	faults bool // a request may fail; a purchase is then repeated with its key until it is known to be completed

	mu                     sync.Mutex
	began                  time.Time
	reads, bought, pending int64
	failed                 int
	longest, lastFailure   time.Duration // of a request; since the beginning
	errs                   []error       // the first
}

// underLoad does something while a user reads and buys. No request may fail, and the bill must be charged once for each purchase.
func (d *day) underLoad(ctx context.Context, do func() error) error { return d.loaded(ctx, false, do) }

// underFaults does something while requests may fail. The outcome of each purchase must be known in the end, and the bill must be charged once for each.
func (d *day) underFaults(ctx context.Context, do func() error) error { return d.loaded(ctx, true, do) }

func (d *day) loaded(ctx context.Context, faults bool, do func() error) error {
	return d.shop.reached(d, ctx, func() error {
		b, err := d.newBuyer(ctx)
		if err != nil {
			return err
		}
		l := &load{buyer: b, faults: faults, began: time.Now()}
		loaded, stop := context.WithCancel(ctx)
		defer stop()
		var all sync.WaitGroup
		all.Go(func() { each(loaded, reads, func() { l.read(ctx) }) })
		all.Go(func() { each(loaded, purchases, func() { l.purchase(ctx) }) })
		err = do()
		stop()
		all.Wait()
		if err != nil {
			return err
		}
		fmt.Printf("    %d reads and %d purchases (%d answered later), %d requests failed; the longest took %.1f s\n", l.reads, l.bought, l.pending, l.failed, l.longest.Seconds())
		if faults && l.failed > 0 {
			fmt.Printf("    the last request failed after %.0f s\n", l.lastFailure.Seconds())
		} else if l.failed > 0 {
			return errors.Join(l.errs...)
		}
		return b.charged(ctx, l.bought)
	})
}

func (l *load) read(ctx context.Context) {
	began := time.Now()
	_, err := l.do(ctx, http.MethodGet, "/products/"+l.product, nil, nil, http.StatusOK)
	l.count(began, &l.reads, err)
}

func (l *load) purchase(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for key := rand.Text(); ; {
		began := time.Now()
		first, err := l.buy(ctx, key)
		l.count(began, &l.bought, err)
		if first.status == http.StatusAccepted {
			l.mu.Lock()
			l.pending++
			l.mu.Unlock()
		}
		if err == nil || !l.faults || ctx.Err() != nil {
			return
		}
	}
}

// count counts a request, which was to be sent at a time.
func (l *load) count(began time.Time, succeeded *int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, time.Since(began))
	if err == nil {
		*succeeded++
		return
	}
	l.lastFailure = time.Since(l.began)
	if l.failed++; len(l.errs) < 5 {
		l.errs = append(l.errs, err)
	}
}

// each starts something at a rate for each second, in goroutines, until ctx ends.
func each(ctx context.Context, second int, do func()) {
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(time.Second / time.Duration(second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			all.Go(do)
		}
	}
}

// buy returns the first response. If the shop accepts a purchase without having settled it, its outcome is asked for.
func (b *buyer) buy(ctx context.Context, key string) (answer, error) {
	body := fmt.Appendf(nil, `{"product_id":%s,"bill_id":%s}`, b.product, b.bill)
	first, err := b.do(ctx, http.MethodPost, "/purchases", http.Header{"Idempotency-Key": {key}}, body, http.StatusCreated, http.StatusAccepted)
	for last := first; err == nil && last.field("status") != "completed"; {
		if status := last.field("status"); status != "pending" {
			return first, fmt.Errorf("a purchase is %q: %s", status, last.text)
		}
		last, err = b.do(ctx, http.MethodGet, "/purchases/"+first.field("id"), http.Header{"Prefer": {"wait=5"}}, nil, http.StatusOK)
	}
	return first, err
}

// charged wants the bill to have been charged exactly that often.
func (b *buyer) charged(ctx context.Context, times int64) error {
	a, err := b.do(ctx, http.MethodGet, "/bills/"+b.bill, nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	balance, is := new(big.Rat).SetString(a.field("balance"))
	want := new(big.Rat).Sub(b.paid, new(big.Rat).Mul(b.price, big.NewRat(times, 1)))
	if !is || balance.Cmp(want) != 0 {
		return fmt.Errorf("after %d purchases for %s the balance is %s instead of %s", times, b.price.FloatString(2), a.field("balance"), want.FloatString(2))
	}
	return nil
}
