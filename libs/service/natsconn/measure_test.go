package natsconn_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/service/natsconn"
	"lavka/libs/testkit/waittest"
)

func TestLag(t *testing.T) {
	t.Parallel()
	_, js := connected(t)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	one := jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1}
	consumer, err := stream.CreateConsumer(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := js.Publish(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
	}
	// Three messages are delivered, and one of them three times: MaxAckPending 1
	// holds back the others until then.
	next := func() jetstream.Msg {
		msg, err := consumer.Next(jetstream.FetchMaxWait(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	for range 2 {
		if err := next().Nak(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	one.MaxAckPending = 3
	if consumer, err = stream.UpdateConsumer(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	next()
	next()
	waittest.Eventually(t, "NATS has updated its counts", func() bool {
		info, err := consumer.Info(t.Context())
		return err == nil && info.NumPending == 7 && info.NumAckPending == 3
	})
	want := map[string]float64{"nats_consumer_num_pending": 7, "nats_consumer_num_ack_pending": 3, "nats_consumer_num_redelivered": 1}

	registry := prometheus.NewRegistry()
	lag, other := natsconn.Lag(js, "S", "c", quiet), natsconn.Lag(js, "S", "nobody", quiet)
	registry.MustRegister(lag, other)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { lag.Run(ctx) })
	running.Go(func() { other.Run(ctx) })
	defer running.Wait()
	defer stop()
	got := map[string]float64{}
	waittest.Eventually(t, "the metrics were read from NATS", func() bool {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				got[f.GetName()] += m.Gauge.GetValue()
				if c, s := m.Label[0].GetValue(), m.Label[1].GetValue(); c != "c" || s != "S" {
					t.Errorf("labels are consumer %s, stream %s; want c, S", c, s)
				}
			}
		}
		return len(got) > 0
	})
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s is %v, want %v", name, got[name], n)
		}
	}
}
