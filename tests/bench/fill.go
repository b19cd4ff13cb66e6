package main

import (
	"context"
	"fmt"

	"lavka/deploy/local/stack"
	"lavka/libs/service/pgconfig"
)

// fill gives the shop a past, past the API, which would take hours: payments on
// all bills and purchases from them, as many on each. The ledger adds up.
func (s *shop) fill(ctx context.Context, payments, purchases int) error {
	conn, err := pgconfig.Connect(ctx, s.AdminDatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	n := len(s.bills)
	for _, step := range []struct{ what, sql string }{
		// Rounds over all bills, so that the past of a bill is spread as it would be.
		{"payments", fmt.Sprintf(`
			INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, payment_id)
			SELECT nextval('billing.transaction_ids'), b.id, b.user_id, 2, b.balance + 2 * round, 1000000000000 + row_number() OVER ()
			FROM generate_series(1, %d) AS round, LATERAL (SELECT id, user_id, balance FROM billing.bills ORDER BY id) AS b
			ORDER BY round, b.id`, payments/n)},
		{"balances", fmt.Sprintf(`UPDATE billing.bills SET balance = balance + 2 * %d`, payments/n)},
		// A UUIDv7 begins with its milliseconds (RFC 9562, section 5.7): a day of them, up to now.
		{"purchases", fmt.Sprintf(`
			CREATE TEMPORARY TABLE past AS
			SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - (%[1]d - round) * 86400000 / %[1]d - 1), 12, '0') || '7' || substr(md5(b.id || '-' || round), 1, 3) || '8' || substr(md5(round || '+' || b.id), 1, 15))::uuid AS id,
				nextval('billing.transaction_ids') AS transaction_id, b.id AS bill_id, b.user_id, b.balance - round AS after
			FROM generate_series(1, %[1]d) AS round, LATERAL (SELECT id, user_id, balance FROM billing.bills ORDER BY id) AS b
			ORDER BY round, b.id`, max(1, purchases/n))},
		{"debits", `
			INSERT INTO billing.transactions (id, bill_id, user_id, amount, balance_after, purchase_id)
			SELECT transaction_id, bill_id, user_id, -1, after, id FROM past ORDER BY transaction_id`},
		{"balances", fmt.Sprintf(`UPDATE billing.bills SET balance = balance - %d`, max(1, purchases/n))},
		{"charges", `
			INSERT INTO billing.charges (purchase_id, user_id, bill_id, amount, outcome, balance, transaction_id)
			SELECT id, user_id, bill_id, 1, 'settled', after, transaction_id FROM past ORDER BY transaction_id`},
		{"catalog", fmt.Sprintf(`
			INSERT INTO catalog.purchases (id, user_id, product_id, title, price, bill_id, status, transaction_id, expires_at, settled_at, next_send_at)
			SELECT id, user_id, %d, 'Samovar', 1, bill_id, 'completed', transaction_id, now(), now(), now() FROM past ORDER BY transaction_id`, s.products[0])},
		{"statistics", `VACUUM ANALYZE`},
	} {
		if _, err := conn.Exec(ctx, step.sql); err != nil {
			return fmt.Errorf("fill the shop with %s: %w", step.what, err)
		}
	}
	return nil
}

// filled compares a shop with a past with itself before: purchases, and pages.
func (b *bench) filled(ctx context.Context) error {
	catalog, billing := b.addr(stack.Catalog), b.addr(stack.Billing)
	works := []struct {
		name, addr string
		clients    int
		ask        ask
	}{
		{"purchases", catalog, inFlight, b.purchase(catalog, b.anyBill)},
		{"GET /transactions", billing, 64, b.get(billing, "/transactions?limit=20", []byte(`"items"`))},
		{"GET /purchases", catalog, 64, b.get(catalog, "/purchases?limit=20", []byte(`"items"`))},
	}
	// measure is a round over all of them.
	measure := func() (samples []sample, err error) {
		for _, w := range works {
			s, err := b.full(ctx, w.addr, w.clients, w.ask)
			if err != nil {
				return nil, err
			}
			samples = append(samples, s)
		}
		return samples, nil
	}
	if err := b.settleDown(ctx); err != nil {
		return err
	}
	before := make([][]float64, len(works)) // rates
	for range b.rounds {
		samples, err := measure()
		if err != nil {
			return err
		}
		for i, s := range samples {
			before[i] = append(before[i], s.rate())
		}
	}
	if err := b.fill(ctx, b.past.payments, b.past.purchases); err != nil {
		return err
	}
	if err := b.settleDown(ctx); err != nil {
		return err
	}
	for range b.rounds {
		samples, err := measure()
		if err != nil {
			return err
		}
		for i, s := range samples {
			b.add(fmt.Sprintf("%s with %s transactions stored / before", works[i].name, millions(b.past.payments+b.past.purchases)), "≥ 0.9", "", s.rate()/median(before[i]), figures(s))
		}
	}
	return nil
}

// settleDown lets the shop be as it is most of the time: what was written is in
// the tables, and most pages have been written since the last checkpoint, the
// first time in full (full_page_writes).
func (b *bench) settleDown(ctx context.Context) error {
	conn, err := pgconfig.Connect(ctx, b.AdminDatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `CHECKPOINT`); err != nil {
		return err
	}
	catalog := b.addr(stack.Catalog)
	warm := closed(ctx, catalog, inFlight, 4*b.span, b.purchase(catalog, b.anyBill))
	fmt.Printf("  after a checkpoint: %.0f/s\n", warm.rate())
	return warm.unexpected()
}

func millions(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%d million", n/1_000_000)
	}
	return fmt.Sprint(n)
}
