package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
)

// size is how big a shop is.
type size struct{ users, billsOfEach, products int }

func (s size) bills() int { return s.users * s.billsOfEach }

const password = "correct-horse-battery-staple-7"

// shop is a shop of real binaries, as they are released. With one replica of
// each service, what is compared is what one machine does.
type shop struct {
	*hosted
	users    []user
	bills    []bill
	products []int64
	payments atomic.Int64 // ids
}

type user struct {
	id    int64
	login string
	token string // the whole Authorization header
}

type bill struct{ id, owner int64 } // owner is the place in users

// firstBalance is on each bill, in units.
const firstBalance = 1_000_000

// startShop starts a shop in a directory that holds its binaries in bin/.
func startShop(ctx context.Context, dir string, size size, replicas counts, env ...string) (*shop, error) {
	h, err := host(dir, replicas, env...)
	if err != nil {
		return nil, err
	}
	s := &shop{hosted: h}
	return s, s.seed(ctx, size)
}

// addrs are those of a service's replicas.
func (s *shop) addrs(service string) []string {
	var addrs []string
	for _, url := range s.URLs[service] {
		addrs = append(addrs, strings.TrimPrefix(url, "http://"))
	}
	return addrs
}

// addr is that of the first replica.
func (s *shop) addr(service string) string { return s.addrs(service)[0] }

func (s *shop) gateway() string { return strings.TrimPrefix(s.GatewayURL, "http://") }

// seed makes users, bills and products over the API.
func (s *shop) seed(ctx context.Context, size size) error {
	client := newClient(s.gateway(), 8)
	s.users = make([]user, size.users)
	if err := each(ctx, len(s.users), 4, func(i int) (err error) {
		s.users[i], err = s.register(client, fmt.Sprintf("buyer-%d", i))
		return err
	}); err != nil {
		return fmt.Errorf("register users: %w", err)
	}
	admin, err := login(client, s.AdminLogin, s.AdminPassword)
	if err != nil {
		return fmt.Errorf("log in the admin: %w", err)
	}
	s.products = make([]int64, size.products)
	err = each(ctx, len(s.products), 8, func(i int) error {
		product := map[string]any{"title": fmt.Sprintf("Samovar no. %d", i), "description": "Brass, three litres", "price": 1}
		var got struct {
			ID int64 `json:"id"`
		}
		err := call(client, "POST", "/products", admin, product, http.StatusCreated, &got)
		s.products[i] = got.ID
		return err
	})
	if err != nil {
		return fmt.Errorf("offer products: %w", err)
	}
	direct := newClient(s.addr(stack.Billing), 64)
	s.bills = make([]bill, size.bills())
	err = each(ctx, len(s.bills), 64, func(i int) error {
		owner := i % len(s.users)
		s.bills[i] = bill{id: int64(i + 1), owner: int64(owner)}
		body := s.payment(s.payments.Add(1), s.users[owner].id, int64(i+1), firstBalance)
		return patiently(func() error {
			return call(direct, "POST", "/payment/webhook", "", json.RawMessage(body), http.StatusOK, nil)
		})
	})
	if err != nil {
		return fmt.Errorf("top up bills: %w", err)
	}
	return nil
}

func (s *shop) register(client *fasthttp.HostClient, name string) (user, error) {
	var got struct {
		ActivationLink string `json:"activation_link"`
		User           struct {
			ID int64 `json:"id"`
		} `json:"user"`
	}
	credentials := map[string]string{"login": name, "password": password}
	if err := patiently(func() error { return call(client, "POST", "/auth/register", "", credentials, http.StatusCreated, &got) }); err != nil {
		return user{}, err
	}
	link, err := url.Parse(got.ActivationLink)
	if err != nil {
		return user{}, err
	}
	if err := call(client, "GET", link.Path, "", nil, http.StatusOK, nil); err != nil {
		return user{}, err
	}
	token := ""
	err = patiently(func() (err error) { token, err = login(client, name, password); return err })
	return user{id: got.User.ID, login: name, token: token}, err
}

func login(client *fasthttp.HostClient, login, password string) (token string, err error) {
	var got struct {
		AccessToken string `json:"access_token"`
	}
	err = call(client, "POST", "/auth/login", "", map[string]string{"login": login, "password": password}, http.StatusOK, &got)
	return "Bearer " + got.AccessToken, err
}

// payment is the body of a webhook call; the amount is in whole units.
func (s *shop) payment(id, user, bill, amount int64) []byte {
	return payment.Signed(s.PaymentKeys[0], id, user, bill, amount)
}

// errBusy is an answer that asks to come again.
var errBusy = errors.New("busy")

// patiently retries after a pause while the shop is busy.
func patiently(ask func() error) error {
	for {
		if err := ask(); !errors.Is(err, errBusy) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// call asks for something that is not measured.
func call(client *fasthttp.HostClient, method, path, token string, body any, want int, into any) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	prepare(req, client.Addr, method, path, token)
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req.Header.SetContentType("application/json")
		req.SetBodyRaw(raw)
	}
	if err := client.Do(req, resp); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode() == http.StatusServiceUnavailable || resp.StatusCode() == http.StatusNotFound && path == "/payment/webhook" {
		return errBusy
	}
	if resp.StatusCode() != want {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode(), resp.Body())
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(resp.Body(), into)
}

func prepare(req *fasthttp.Request, host, method, path, token string) {
	req.Header.SetMethod(method)
	req.SetRequestURI(path)
	req.Header.SetHost(host)
	if token != "" {
		req.Header.Set("Authorization", token)
	}
}

// each calls f for 0 to n-1, a limited number at a time, until one fails.
func each(ctx context.Context, n, parallel int, f func(int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// purchase buys something from one of the bills that pick picks.
func (s *shop) purchase(host string, pick func(*rand.Rand) bill) ask {
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) {
			b := pick(r)
			prepare(req, host, "POST", "/purchases", s.users[b.owner].token)
			req.Header.SetContentType("application/json")
			body := append(req.Body(), `{"product_id":`...)
			body = strconv.AppendInt(body, s.products[r.IntN(len(s.products))], 10)
			body = append(body, `,"bill_id":`...)
			body = strconv.AppendInt(body, b.id, 10)
			req.SetBody(append(body, '}'))
		},
		kind: func(resp *fasthttp.Response) string { return answered(resp, http.StatusCreated, completed) },
	}
}

// withKey gives each request an Idempotency-Key of its own.
func (s *shop) withKey(a ask) ask {
	fill := a.fill
	a.fill = func(r *rand.Rand, req *fasthttp.Request) {
		fill(r, req)
		req.Header.Set("Idempotency-Key", strconv.FormatUint(r.Uint64(), 36))
	}
	return a
}

// credit is one payment.
func (s *shop) credit(host string, pick func(*rand.Rand) bill) ask {
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) {
			b := pick(r)
			prepare(req, host, "POST", "/payment/webhook", "")
			req.Header.SetContentType("application/json")
			req.SetBodyRaw(s.payment(s.payments.Add(1), s.users[b.owner].id, b.id, 1))
		},
		kind: func(resp *fasthttp.Response) string { return answered(resp, http.StatusOK, credited) },
	}
}

// get is one GET that a random user makes.
func (s *shop) get(host, path string, holds []byte) ask {
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) {
			prepare(req, host, "GET", path, s.users[r.IntN(len(s.users))].token)
		},
		kind: func(resp *fasthttp.Response) string { return answered(resp, http.StatusOK, holds) },
	}
}

// loginTo returns login requests of random users.
func (s *shop) loginTo(auth string) ask {
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) {
			prepare(req, auth, "POST", "/auth/login", "")
			req.Header.SetContentType("application/json")
			req.SetBodyString(`{"login":"` + s.users[r.IntN(len(s.users))].login + `","password":"` + password + `"}`)
		},
		kind: func(resp *fasthttp.Response) string { return answered(resp, 200, []byte(`"access_token"`)) },
	}
}

var completed, credited = []byte(`"status":"completed"`), []byte(`"status":"credited"`)

// answered is the kind of an answer: "ok" with the status and the text that are hoped for.
func answered(resp *fasthttp.Response, status int, holds []byte) string {
	if resp.StatusCode() == status && bytes.Contains(resp.Body(), holds) {
		return "ok"
	}
	if len(resp.Header.Peek("Retry-After")) > 0 {
		return fmt.Sprintf("%d with Retry-After", resp.StatusCode())
	}
	return fmt.Sprintf("%d %.300s", resp.StatusCode(), resp.Body())
}

func (s *shop) anyBill(r *rand.Rand) bill { return s.bills[r.IntN(len(s.bills))] }

func (s *shop) hotBill(*rand.Rand) bill { return s.bills[0] }
