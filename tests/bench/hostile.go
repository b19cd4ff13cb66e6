package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"lavka/tests/hostile"
)

// hostileConnections are those of the hostile user.
const hostileConnections = 500

// hostileUser compares the p99 of all other users while one user with a large history
// sends expensive requests, and without them. It has a shop of its own: the
// many products would change what other parts measure.
func (b *bench) hostileUser(ctx context.Context) (err error) {
	s, err := b.neighbour(ctx, "hostile", small, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	client := newClient(s.gateway(), 1)
	u, err := s.register(client, "hostile")
	if err != nil {
		return err
	}
	if err := hostile.Fill(ctx, s.AdminDatabaseURL, u.id, b.history.rows, b.history.products); err != nil {
		return err
	}
	most := closed(ctx, s.gateway(), 64, b.span, s.usual())
	if err := most.unexpected(); err != nil {
		return err
	}
	// A quarter of what the shop can do, so that the processors have time for more.
	others := func() sample { return open(ctx, s.gateway(), 512, most.rate()/4, b.span, s.usual()) }
	who := fmt.Sprintf("one user with %s purchases and as many payments sends searches and filtered lists over %d connections", millions(b.history.rows), hostileConnections)
	for range b.rounds {
		calm := others()
		if err := calm.unexpected(); err != nil {
			return err
		}
		flooding, end := context.WithCancel(ctx)
		flood := make(chan sample, 1)
		go func() {
			flood <- closed(flooding, s.gateway(), hostileConnections, time.Hour, expensive(s.gateway(), u))
		}()
		during := others()
		end()
		f := <-flood
		if err := f.unexpected(); err != nil {
			return fmt.Errorf("the hostile user: %w", err)
		}
		if len(during.took) == 0 {
			return errors.New("no other user was served")
		}
		b.add("the p99 of all other users while "+who+" / without", "reported", "", during.percentile(99).Seconds()/calm.percentile(99).Seconds(),
			fmt.Sprintf("%.0f/s, p50 %s, p99 %s; without: p50 %s, p99 %s; hostile: %.0f/s answered, %.0f/s refused", during.rate(),
				ms(during.percentile(50)), ms(during.percentile(99)), ms(calm.percentile(50)), ms(calm.percentile(99)), f.rate(), float64(len(f.others))/f.span.Seconds()))
		b.add("meanwhile, requests of others that were refused or not answered", "≤ 0", "", float64(len(during.others)+during.unasked), fmt.Sprintf("of %d%s", len(during.took)+len(during.others), during.otherwise()))
	}
	return nil
}

// usual is what most users do: look, and buy something.
func (s *shop) usual() ask {
	host := s.gateway()
	buy := s.purchase(host, s.anyBill)
	pages := []string{"/products?limit=20", "/purchases?limit=20", "/bills?limit=20", "/transactions?limit=20", "/users/me"}
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) {
			switch n := r.IntN(8); {
			case n < 2:
				buy.fill(r, req)
			case n == 2:
				prepare(req, host, "GET", fmt.Sprint("/products/", s.products[r.IntN(len(s.products))]), s.users[r.IntN(len(s.users))].token)
			default:
				prepare(req, host, "GET", pages[n-3], s.users[r.IntN(len(s.users))].token)
			}
		},
		kind: anyOf(http.StatusOK, http.StatusCreated),
	}
}

// expensive is what a hostile user sends.
func expensive(host string, u user) ask {
	return ask{
		fill: func(r *rand.Rand, req *fasthttp.Request) { prepare(req, host, "GET", hostile.Path(r), u.token) },
		kind: anyOf(http.StatusOK),
	}
}

// anyOf counts responses with one of the statuses as ok.
func anyOf(statuses ...int) func(*fasthttp.Response) string {
	return func(resp *fasthttp.Response) string {
		if slices.Contains(statuses, resp.StatusCode()) {
			return "ok"
		}
		return answered(resp, statuses[0], nil)
	}
}
