package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/valyala/fasthttp"

	"lavka/deploy/local/stack"
)

// pastWorks are those that a past could make slower.
var pastWorks = []work{
	{"purchases", stack.Catalog, inFlight, buyAny},
	{"GET /transactions", stack.Billing, 64, pageOf("/transactions")},
	{"GET /purchases", stack.Catalog, 64, pageOf("/purchases")},
}

// filled compares a shop with a past with one without.
func (b *bench) filled(ctx context.Context) error {
	return b.withPast(ctx, b.past, "≥ 0.9", pastWorks, func(*bench) error { return nil })
}

// withPast fills the shop, and compares it with one of the same size that is empty, in turns. What else is measured in the empty one is
// measured by empty.
func (b *bench) withPast(ctx context.Context, p past, target string, works []work, empty func(*bench) error) (err error) {
	s, err := b.neighbour(ctx, "empty", b.size, nil)
	if err != nil {
		return err
	}
	other := &bench{peak: map[string]float64{}, shop: s, span: b.span}
	defer func() { err = errors.Join(err, other.stop()) }()
	if err := errors.Join(other.timeFlushes(ctx), empty(other)); err != nil {
		return err
	}
	if err := b.fill(ctx, p); err != nil {
		return err
	}
	for _, each := range []*bench{other, b} {
		if err := each.settleDown(ctx); err != nil {
			return err
		}
	}
	return b.turnsWith(ctx, other, works, func(w work) (string, string) {
		return fmt.Sprintf("%s with %s transactions stored / without", w.name, millions(p.transactions)), target
	})
}

// aYear fills the shop with a year's data, of which one user has a tenth, and looks at all that could take longer for it.
// It takes an hour and a half and 60 GB, so it is a part only when it is asked for by its name.
func (b *bench) aYear(ctx context.Context) error {
	admin, err := b.loginAdmin()
	if err != nil {
		return err
	}
	var before map[string]sample
	works := append(slices.Clone(pastWorks),
		work{"credits", stack.Billing, inFlight, creditAny},
		work{"GET /bills", stack.Billing, 64, pageOf("/bills")},
		work{"GET /products", stack.Catalog, 64, pageOf("/products")})
	err = b.withPast(ctx, b.year, "≥ 0.85", works, func(empty *bench) error {
		admin, err := empty.loginAdmin()
		if err != nil {
			return err
		}
		before, err = empty.readOneByOne(ctx, admin)
		return err
	})
	if err != nil {
		return err
	}
	after, err := b.readOneByOne(ctx, admin)
	if err != nil {
		return err
	}
	for _, page := range b.pages(admin) {
		was, is := before[page.name()], after[page.name()]
		b.add(fmt.Sprintf("GET %s, one at a time: p50 with %s transactions stored", page.name(), millions(b.year.transactions)), "", " ms",
			is.percentile(50).Seconds()*1000, fmt.Sprintf("p99 %s; without: p50 %s, p99 %s", ms(is.percentile(99)), ms(was.percentile(50)), ms(was.percentile(99))))
	}
	for _, check := range []func(context.Context) error{b.verifyNightly, b.fullLoad} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

var number = regexp.MustCompile(`\d+`)

// pastPage is a page that a user or an admin reads.
type pastPage struct{ service, path, token string }

// name is the path, without its times and ids.
func (p pastPage) name() string {
	path, query, _ := strings.Cut(p.path, "?")
	var names []string
	path = number.ReplaceAllString(path, "{id}")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "":
		case "status", "type", "limit", "q", "sort", "login":
			names = append(names, name+"="+value)
		default:
			names = append(names, name)
		}
	}
	return strings.TrimSuffix(path+"?"+strings.Join(names, "&"), "?")
}

// pages are those of the user who has a tenth of all rows, and of an admin.
func (b *bench) pages(admin string) []pastPage {
	heavy, bill := b.users[0], int64(0)
	for _, some := range b.bills {
		if some.owner == 0 {
			bill = some.id
			break
		}
	}
	day := time.Now().Add(-year / 2).UTC().Truncate(24 * time.Hour)
	of := fmt.Sprintf("from=%s&to=%s", day.Format(time.RFC3339), day.Add(24*time.Hour).Format(time.RFC3339))
	pages := []pastPage{}
	for service, byToken := range map[string]map[string][]string{
		stack.Billing: {
			heavy.token: {"/bills?limit=20", fmt.Sprintf("/bills/%d", bill), fmt.Sprintf("/bills/%d?at=%s", bill, day.Format(time.RFC3339)), "/transactions?limit=20", "/transactions?limit=100",
				fmt.Sprintf("/transactions?bill_id=%d", bill), "/transactions?type=purchase", "/transactions?type=refund", "/transactions?" + of},
			admin: {"/customers?limit=20", fmt.Sprintf("/customers/%d/bills", heavy.id), fmt.Sprintf("/admin/transactions?user_id=%d", heavy.id), fmt.Sprintf("/admin/transactions?bill_id=%d", bill),
				fmt.Sprintf("/admin/transactions?payment_id=%d", oldPayments+1_000_000), "/admin/transactions?" + of, "/admin/transactions?type=purchase&" + of},
		},
		stack.Catalog: {
			heavy.token: {"/purchases?limit=20", "/purchases?limit=100", "/purchases?status=declined", "/purchases?status=completed", "/purchases?" + of, "/purchases?idempotency_key=none", "/products?limit=20", "/products?q=samovar+no.+7", "/products?sort=title&q=none+such"},
			admin:       {fmt.Sprintf("/admin/purchases?user_id=%d", heavy.id), "/admin/purchases?status=pending", "/admin/purchases?" + of},
		},
		stack.Auth: {admin: {"/users?limit=20", "/users?status=disabled", "/users?login=buyer-7", "/users?login=nobodys", fmt.Sprintf("/users/%d", heavy.id)}},
	} {
		for token, paths := range byToken {
			for _, path := range paths {
				pages = append(pages, pastPage{service, path, token})
			}
		}
	}
	slices.SortFunc(pages, func(a, b pastPage) int { return strings.Compare(a.path, b.path) })
	return pages
}

// readOneByOne reads each page for a while over one connection.
func (b *bench) readOneByOne(ctx context.Context, admin string) (map[string]sample, error) {
	found := map[string]sample{}
	for _, page := range b.pages(admin) {
		addr := b.addr(page.service)
		s := closed(ctx, addr, 1, b.span/8, ask{
			fill: func(_ *rand.Rand, req *fasthttp.Request) { prepare(req, addr, "GET", page.path, page.token) },
			kind: func(resp *fasthttp.Response) string { return answered(resp, http.StatusOK, []byte(`{`)) },
		})
		if err := s.unexpected(); err != nil {
			return nil, fmt.Errorf("GET %s: %w", page.path, err)
		}
		found[page.name()] = s
	}
	return found, nil
}

// verifyNightly runs what runs each night.
func (b *bench) verifyNightly(ctx context.Context) error {
	running, err := stack.Running(filepath.Join(b.dir, "data"))
	if err != nil {
		return err
	}
	books := filepath.Join(b.work, "books")
	for _, night := range []struct {
		service string
		args    []string
	}{{stack.Billing, []string{"verify"}}, {stack.Catalog, []string{"verify"}}, {stack.Catalog, []string{"books", books}}, {stack.Billing, []string{"compare", books}}} {
		spilled, err := b.spilled(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		cmd := running.Command(ctx, night.service, night.args...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var mib float64
		for going := true; going; {
			select {
			case err = <-ended:
				going = false
			case <-time.After(100 * time.Millisecond):
				if now, err := resident(cmd.Process.Pid); err == nil { // it may have ended
					mib = max(mib, now)
				}
			}
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w: %s", night.service, night.args[0], err, &said)
		}
		took := time.Since(began)
		now, err := b.spilled(ctx)
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("%s %s with %s transactions stored", night.service, night.args[0], millions(b.year.transactions)), "≤ 60", " min", took.Minutes(),
			fmt.Sprintf("%s; the command takes %.0f MiB at most, Postgres writes %d MiB of temporary files", strings.TrimSpace(said.String()), mib, (now-spilled)>>20))
	}
	return nil
}

// spilled is how many bytes of temporary files Postgres has written.
func (b *bench) spilled(ctx context.Context) (n int64, err error) {
	err = b.admin(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
	})
	return n, err
}

// upkeep is what vacuum and checkpoints have done.
type upkeep struct {
	Timed, Requested, Vacuums, Dead, Live, WAL, Size int64
}

func (b *bench) upkeep(ctx context.Context) (u upkeep, err error) {
	err = b.admin(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT checkpoints_timed, checkpoints_req, t.vacuums, t.dead, t.live, (SELECT sum(size) FROM pg_ls_waldir())::bigint, pg_database_size(current_database())
			FROM pg_stat_bgwriter, (SELECT sum(autovacuum_count)::bigint AS vacuums, sum(n_dead_tup)::bigint AS dead, sum(n_live_tup)::bigint AS live FROM pg_stat_user_tables) t`).
			Scan(&u.Timed, &u.Requested, &u.Vacuums, &u.Dead, &u.Live, &u.WAL, &u.Size)
	})
	return u, err
}

// fullLoad buys for half an hour, and looks whether vacuum and checkpoints keep up.
func (b *bench) fullLoad(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	usual := b.span
	defer func() { b.span = usual }()
	b.span = b.fullFor / 30
	before, err := b.upkeep(ctx)
	if err != nil {
		return err
	}
	var rates, slow []float64
	var most upkeep
	for minute := range 30 {
		s, err := b.full(ctx, catalog, inFlight, b.purchase(catalog, b.anyBill))
		if err != nil {
			return err
		}
		now, err := b.upkeep(ctx)
		if err != nil {
			return err
		}
		most.Dead, most.WAL = max(most.Dead, now.Dead), max(most.WAL, now.WAL)
		rates, slow = append(rates, s.rate()), append(slow, float64(s.percentile(99))/1e6)
		fmt.Printf("  %2d: %s; dead rows %d, WAL %d MiB, autovacuums %d, checkpoints %d+%d\n", minute+1, figures(s), now.Dead, now.WAL>>20, now.Vacuums-before.Vacuums, now.Timed-before.Timed, now.Requested-before.Requested)
	}
	after, err := b.upkeep(ctx)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("purchases in the last of six parts of %v of full load with %s transactions stored / in the first", b.fullFor, millions(b.year.transactions)), "≥ 0.9", "", median(rates[25:])/median(rates[:5]),
		fmt.Sprintf("medians %.0f/s and %.0f/s, of all %.0f/s, lowest %.0f/s; p99 of the parts %.0f to %.0f ms; %d autovacuums, %d checkpoints by time and %d for WAL; dead rows %d at first, %d at most, %d at last, of %d; WAL %d MiB at most; the database grew from %d to %d MiB",
			median(rates[:5]), median(rates[25:]), median(rates), slices.Min(rates), slices.Min(slow), slices.Max(slow), after.Vacuums-before.Vacuums, after.Timed-before.Timed, after.Requested-before.Requested,
			before.Dead, most.Dead, after.Dead, after.Live, most.WAL>>20, before.Size>>20, after.Size>>20))
	return nil
}
