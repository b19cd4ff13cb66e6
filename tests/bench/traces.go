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

// traced compares small shops in turns: one that records and exports traces as make run
// does, one that records a share of them, and one that records none.
func (b *bench) traced(ctx context.Context) (err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	store := traces.NewStore()
	collector := traces.NewServer(store)
	go func() { _ = collector.Serve(l) }() // ends with Close
	defer func() { err = errors.Join(err, collector.Close()) }()

	exporting := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=" + traces.Delay}
	var shops [3]*shop
	for i, s := range []struct {
		name string
		env  []string
	}{
		{"silent", []string{"OTEL_TRACES_SAMPLER=always_off"}},
		{"hundredth", append(exporting, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01")},
		{"as-run", exporting},
	} {
		if shops[i], err = b.neighbour(ctx, s.name, small, nil, s.env...); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, shops[i].stop()) }()
	}
	for range 2 * b.rounds { // more than others: a twentieth is less than the noise of one
		var rates [3]float64
		for i, s := range shops {
			addr := s.addr(stack.Catalog)
			bought := closed(ctx, addr, inFlight, b.span, s.purchase(addr, s.anyBill))
			if err := bought.unexpected(); err != nil {
				return err
			}
			rates[i] = bought.rate()
		}
		b.add("purchases with one trace in a hundred recorded and exported / with none", "≥ 0.95", "", rates[1]/rates[0], fmt.Sprintf("%.0f/s, %.0f/s", rates[1], rates[0]))
		b.add("purchases with traces as make run has them / with one in a hundred", "≥ 0.9", "", rates[2]/rates[1], fmt.Sprintf("%.0f/s, %.0f/s", rates[2], rates[1]))
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

// small is the size of a shop whose size does not matter.
var small = size{users: 20, billsOfEach: 50, products: 50}

// neighbour is a shop beside the one that is measured otherwise.
func (b *bench) neighbour(ctx context.Context, name string, size size, replicas counts, env ...string) (*shop, error) {
	dir := filepath.Join(b.work, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Symlink(b.bin(), filepath.Join(dir, "bin")); err != nil {
		return nil, err
	}
	s, err := startShop(ctx, dir, size, replicas, env...)
	if err != nil && s != nil {
		err = errors.Join(err, s.stop())
	}
	return s, err
}
