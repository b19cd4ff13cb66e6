package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lavka/deploy/local/payment"
)

// The data that seed adds has fixed names and keys, so that a second run finds what the first one created.
const seedPassword = "five small lanterns"

type seedProduct struct {
	title, description string
	price              json.Number
	image              string // of a page of placeholders: nothing fetches it but a browser
	stock              int    // units; 0 for no limit
}

var seedProducts = []seedProduct{
	{"Teapot", "Cast iron, one litre", "34.50", "https://placehold.co/600x400?text=Teapot", 0},
	{"Black tea", "A tin of 250 g", "9.99", "https://placehold.co/600x400?text=Black+tea", 0},
	{"Honey", "Linden, a jar of 500 g", "7.25", "https://placehold.co/600x400?text=Honey", 40},
	{"Tea glass", "With a metal holder", "12.00", "https://placehold.co/600x400?text=Tea+glass", 0},
	{"Grand samovar", "Copper, ten litres", "480.00", "https://placehold.co/600x400?text=Grand+samovar", 2},
}

var seedUsers = []struct {
	login  string
	amount json.Number
	buys   []int // of seedProducts, in order
}{
	{"anna", "100.00", []int{0, 1, 2}},
	{"boris", "50.00", []int{1, 3}},
	{"vera", "20.00", []int{1, 4}}, // declined: her balance is too low for the samovar
}

// Ids that others are unlikely to choose; the shop's own bills begin at 10¹².
const (
	seedBills    = 700_000_000_000 // plus the user's id
	seedPayments = 700_000_000_000
)

// seeding is one run of seed.
type seeding struct {
	target
	adminToken string
	products   []string // ids, in the order of seedProducts
	made       int
}

// seed adds demo data to a shop through its API. It is idempotent: a second run changes nothing.
func seed(ctx context.Context, cfg settings, args []string) error {
	to, err := parseTarget(cfg, "seed", args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &seeding{target: to}
	if s.adminToken, err = s.logIn(ctx, s.admin); err != nil {
		return fmt.Errorf("log in as %s: %w", s.admin.Login, err)
	}
	for _, p := range seedProducts {
		if err := s.product(ctx, p); err != nil {
			return fmt.Errorf("add the product %s: %w", p.title, err)
		}
	}
	if _, err := fmt.Printf("%d products; the administrator is %s\n\n  %-7s %-22s %4s %13s %9s  %s\n", len(s.products), s.admin.Login, "login", "password", "id", "bill", "balance", "purchases"); err != nil {
		return err
	}
	for _, u := range seedUsers {
		line, err := s.user(ctx, credentials{u.login, seedPassword}, u.amount, u.buys)
		if err != nil {
			return fmt.Errorf("add the user %s: %w", u.login, err)
		}
		if _, err := fmt.Println(line); err != nil {
			return err
		}
	}
	if s.made == 0 {
		_, err = fmt.Println("\neverything existed already")
	}
	return err
}

// want sends a request, and fails unless the response has one of the given statuses. It retries a response with Retry-After: billing and
// catalog learn about a new user a moment later than auth.
func (s *seeding) want(ctx context.Context, c call, statuses ...int) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := s.do(ctx, c)
		if err != nil {
			return a, err
		}
		for _, status := range statuses {
			if a.status == status {
				return a, nil
			}
		}
		refused := fmt.Errorf("%s %s: %d %s: %s", c.method, c.path, a.status, a.text("code"), a.text("detail"))
		if a.header.Get("Retry-After") == "" {
			return a, refused
		}
		select {
		case <-ctx.Done():
			return a, refused
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *seeding) logIn(ctx context.Context, who credentials) (token string, err error) {
	a, err := s.want(ctx, call{method: http.MethodPost, path: "/auth/login", body: who}, http.StatusOK)
	return a.text("access_token"), err
}

func (s *seeding) product(ctx context.Context, p seedProduct) error {
	a, err := s.want(ctx, call{method: http.MethodGet, path: "/products?limit=100&q=" + url.QueryEscape(p.title), token: s.adminToken}, http.StatusOK)
	if err != nil {
		return err
	}
	for _, item := range a.items() {
		if textOf(item["title"]) == p.title {
			s.products = append(s.products, textOf(item["id"]))
			return nil
		}
	}
	body := map[string]any{"title": p.title, "description": p.description, "price": p.price, "images": []string{p.image}}
	if p.stock > 0 {
		body["stock"] = p.stock
	}
	create := call{method: http.MethodPost, path: "/products", token: s.adminToken, body: body}
	// Until an upgrade is complete, no stock can be limited.
	if a, err = s.want(ctx, create, http.StatusCreated, http.StatusServiceUnavailable); err == nil && a.status == http.StatusServiceUnavailable {
		if a.text("code") == "not_open_yet" {
			delete(body, "stock")
		}
		a, err = s.want(ctx, create, http.StatusCreated)
	}
	if err != nil {
		return err
	}
	s.made++
	s.products = append(s.products, a.text("id"))
	return nil
}

// user registers a user, tops up one bill and buys. It returns a line with the user's balance and purchases.
func (s *seeding) user(ctx context.Context, who credentials, amount json.Number, buys []int) (line string, err error) {
	if err := s.register(ctx, who); err != nil {
		return "", err
	}
	token, err := s.logIn(ctx, who)
	if err != nil {
		return "", err
	}
	me, err := s.want(ctx, call{method: http.MethodGet, path: "/users/me", token: token}, http.StatusOK)
	if err != nil {
		return "", err
	}
	id, err := strconv.ParseInt(me.text("id"), 10, 64)
	if err != nil {
		return "", fmt.Errorf("read the user's id: %w", err)
	}
	bill := seedBills + id
	paid := json.RawMessage(payment.Signed(s.keys[0], seedPayments+id, id, bill, amount))
	if err := s.once(ctx, call{method: http.MethodPost, path: "/payment/webhook", body: paid}, http.StatusOK); err != nil {
		return "", err
	}
	for n, product := range buys {
		c := call{
			method: http.MethodPost, path: "/purchases", token: token, header: map[string]string{"Idempotency-Key": fmt.Sprintf("seed-%d", n+1)},
			body: map[string]any{"product_id": json.Number(s.products[product]), "bill_id": bill},
		}
		if err := s.once(ctx, c, http.StatusCreated, http.StatusAccepted, http.StatusPaymentRequired); err != nil {
			return "", err
		}
	}
	state, err := s.want(ctx, call{method: http.MethodGet, path: fmt.Sprintf("/bills/%d", bill), token: token}, http.StatusOK)
	if err != nil {
		return "", err
	}
	purchases, err := s.want(ctx, call{method: http.MethodGet, path: "/purchases?limit=100", token: token}, http.StatusOK)
	if err != nil {
		return "", err
	}
	var outcomes []string
	for _, p := range purchases.items() {
		outcomes = append(outcomes, textOf(p["title"])+" ("+textOf(p["status"])+")")
	}
	return fmt.Sprintf("  %-7s %-22s %4d %13d %9s  %s", who.Login, who.Password, id, bill, state.text("balance"), strings.Join(outcomes, ", ")), nil
}

// register creates an active user, unless the login exists.
func (s *seeding) register(ctx context.Context, who credentials) error {
	a, err := s.want(ctx, call{method: http.MethodPost, path: "/auth/register", body: who}, http.StatusCreated, http.StatusConflict)
	if err != nil {
		return err
	}
	if a.status == http.StatusConflict {
		a, err = s.do(ctx, call{method: http.MethodPost, path: "/auth/login", body: who})
		if err != nil || a.text("code") != "user_inactive" {
			return err // the caller logs in next, and reports a wrong password
		}
		if a, err = s.want(ctx, call{method: http.MethodPost, path: "/auth/activation", body: who}, http.StatusCreated); err != nil {
			return err
		}
	}
	_, err = s.want(ctx, call{method: http.MethodGet, path: a.text("activation_link")}, http.StatusOK)
	s.made++
	return err
}

// once sends an idempotent request, and counts it unless it repeats an earlier one.
func (s *seeding) once(ctx context.Context, c call, statuses ...int) error {
	a, err := s.want(ctx, c, statuses...)
	if err == nil && a.header.Get("Idempotent-Replayed") == "" {
		s.made++
	}
	return err
}
