package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"lavka/deploy/local/stack"
	"lavka/libs/service/directhttp"
)

// exporting compares purchases while an admin exports the ledger, as fast as it comes,
// with purchases alone, in turns. Whenever an export ends, the next one begins.
func (b *bench) exporting(ctx context.Context) error {
	catalog := b.addr(stack.Catalog)
	buy := b.purchase(catalog, b.anyBill)
	admin, err := b.loginAdmin()
	if err != nil {
		return err
	}
	records := 0
	alone := func() (sample, error) { return b.full(ctx, catalog, inFlight, buy) }
	beside := func() (sample, error) {
		during, end := context.WithCancel(ctx)
		exported := make(chan error, 1)
		go func() {
			var err error
			records, err = b.export(during, admin)
			exported <- err
		}()
		busy, err := b.full(ctx, catalog, inFlight, buy)
		end()
		return busy, errors.Join(err, <-exported)
	}
	usual := b.span
	defer func() { b.span = usual }()
	b.span = min(usual, turn)
	for i := range b.turns {
		calm, busy, err := inTurns(i, alone, beside)
		if err != nil {
			return err
		}
		b.add("purchases during an export of the ledger / alone", "≥ 0.9", "", busy.rate()/calm.rate(), fmt.Sprintf("%s; %.0f records/s exported", figures(busy), float64(records)/busy.span.Seconds()))
	}
	return nil
}

func (b *bench) loginAdmin() (token string, err error) {
	client := newClient(b.gateway(), 1)
	err = patiently(func() (err error) { token, err = login(client, b.AdminLogin, b.AdminPassword); return err })
	return token, err
}

// export exports the last month's ledger until ctx ends, and returns the number of
// records.
func (b *bench) export(ctx context.Context, admin string) (records int, err error) {
	client := &http.Client{Transport: directhttp.Transport()}
	defer client.CloseIdleConnections()
	buffer := make([]byte, 1<<16)
	for ctx.Err() == nil {
		now := time.Now().UTC()
		query := url.Values{"from": {now.AddDate(0, 0, -30).Format(time.RFC3339)}, "to": {now.AddDate(0, 0, 1).Format(time.RFC3339)}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.addr(stack.Billing)+"/admin/transactions?"+query.Encode(), nil)
		if err != nil {
			return records, err
		}
		req.Header.Set("Authorization", admin)
		req.Header.Set("Accept", "application/x-ndjson")
		resp, err := client.Do(req)
		if err != nil {
			return records, unlessOver(ctx, err)
		}
		for err == nil {
			var n int
			n, err = resp.Body.Read(buffer)
			records += bytes.Count(buffer[:n], []byte("\n"))
		}
		err = errors.Join(unlessOver(ctx, err), resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("export: %s", resp.Status))
		}
		if err != nil {
			return records, err
		}
	}
	return records, nil
}

// unlessOver returns an error, except those that an export has at its end or because
// the measurement is over.
func unlessOver(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}
