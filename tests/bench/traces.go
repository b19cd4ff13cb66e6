package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"lavka/deploy/local/stack"
	"lavka/deploy/local/traces"
)

// traced compares two small shops in turns: one that records as many traces as it
// does by default and exports them to this process, and one that records none.
func (b *bench) traced(ctx context.Context) (err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	store := traces.NewStore()
	collector := traces.NewServer(store)
	go func() { _ = collector.Serve(l) }() // ends with Close
	defer func() { err = errors.Join(err, collector.Close()) }()

	recording, err := b.neighbour(ctx, "recording", "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, recording.stop()) }()
	silent, err := b.neighbour(ctx, "silent", "OTEL_TRACES_SAMPLER=always_off")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, silent.stop()) }()

	buy := func(s *shop) (sample, error) {
		addr := s.addr(stack.Catalog)
		bought := closed(ctx, addr, inFlight, b.span, s.purchase(addr, s.anyBill))
		return bought, bought.unexpected()
	}
	for range 2 * b.rounds { // more than others: a twentieth is less than the noise of one
		without, err := buy(silent)
		if err != nil {
			return err
		}
		with, err := buy(recording)
		if err != nil {
			return err
		}
		b.add("purchases with one trace in a hundred recorded and exported / with none", "≥ 0.95", "", with.rate()/without.rate(), fmt.Sprintf("%.0f/s, %.0f/s", with.rate(), without.rate()))
	}
	for end := time.Now().Add(30 * time.Second); ; { // it exports them every few seconds
		_, err := store.LatestPurchase()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("the shop that should have exported traces has not: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// neighbour is a small shop beside the one that is measured otherwise.
func (b *bench) neighbour(ctx context.Context, name string, env ...string) (*shop, error) {
	dir := filepath.Join(b.work, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Symlink(b.bin(), filepath.Join(dir, "bin")); err != nil {
		return nil, err
	}
	s, err := startShop(ctx, dir, size{users: 20, billsOfEach: 50, products: 50}, 1, env...)
	if err != nil && s != nil {
		err = errors.Join(err, s.stop())
	}
	return s, err
}
