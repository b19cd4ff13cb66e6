package nats

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/deploy/postgres"
	"lavka/libs/contract/streams"
	"lavka/libs/contract/wire"
	"lavka/libs/service/natsconn"
)

// patience is the longest wait for an expected message.
const patience = 60 * time.Second

// testServer starts a server for one test, configured like the shop's.
type testServer struct {
	*server.Server
	passwords map[string]string
}

func start(t *testing.T) *testServer {
	t.Helper()
	s := &testServer{passwords: map[string]string{}}
	for _, user := range Users() {
		s.passwords[user] = rand.Text()
	}
	opts, err := Options(s.passwords)
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, opts)
	return s
}

func (s *testServer) run(t *testing.T, opts *server.Options) {
	t.Helper()
	opts.Host, opts.Port, opts.StoreDir, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, t.TempDir(), true, true
	var err error
	if s.Server, err = server.NewServer(opts); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server did not start in time")
	}
}

func (s *testServer) url(user string) string {
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, s.passwords[user]), Host: s.Addr().String()}
	return u.String()
}

// connect connects as a service does.
func (s *testServer) connect(t *testing.T, user string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := natsconn.Connect(s.url(user), user, slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if !nc.IsConnected() { // it retries forever
		t.Fatalf("%s could not log in: %v", user, nc.LastError())
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// open also creates the streams and the durable consumers, each as its owner.
func open(t *testing.T) *testServer {
	t.Helper()
	s := start(t)
	_, auth := s.connect(t, "auth")
	_, billing := s.connect(t, "billing")
	must(t, makeUsers(t.Context(), auth))
	must(t, makePurchases(t.Context(), billing))
	return s
}

// makeUsers creates or updates the stream, as auth does at its start.
func makeUsers(ctx context.Context, auth jetstream.JetStream) error {
	cfg := streams.Users(1)
	if _, err := auth.Stream(ctx, cfg.Name); err == nil {
		cfg.Description = "another"
		_, err := auth.UpdateStream(ctx, cfg)
		return err
	}
	_, err := auth.CreateStream(ctx, cfg)
	return err
}

// makePurchases creates or updates the stream and its consumer, as billing does.
func makePurchases(ctx context.Context, billing jetstream.JetStream) error {
	if _, err := billing.CreateOrUpdateStream(ctx, streams.Purchases(1)); err != nil {
		return err
	}
	for stream, consumer := range durable {
		if _, err := billing.CreateOrUpdateConsumer(ctx, stream, consumer); err != nil {
			return err
		}
	}
	return nil
}

// durable lists billing's consumers by stream.
var durable = map[string]jetstream.ConsumerConfig{wire.StreamPurchases: streams.PurchasesConsumer(), wire.StreamUsers: streams.UsersConsumer()}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAuthPublishesUsers(t *testing.T) {
	t.Parallel()
	s := open(t)
	nc, js := s.connect(t, "auth")
	must(t, makeUsers(t.Context(), js)) // again, and with a change
	stream, err := js.Stream(t.Context(), wire.StreamUsers)
	must(t, err)
	for range 2 {
		last := uint64(0)
		if msg, err := stream.GetLastMsgForSubject(t.Context(), wire.SubjectChanged+".7"); err == nil {
			last = msg.Sequence
		}
		_, err = js.Publish(t.Context(), wire.SubjectChanged+".7", nil, jetstream.WithExpectStream(wire.StreamUsers), jetstream.WithExpectLastSequencePerSubject(last))
		must(t, err)
	}
	_, err = nc.QueueSubscribe("users.revocations", "auth", func(msg *nats.Msg) { _ = msg.Respond([]byte("none")) })
	must(t, err)
	must(t, nc.Flush())
	for _, service := range []string{"catalog", "billing"} {
		asker, _ := s.connect(t, service)
		answer, err := asker.Request("users.revocations", nil, patience)
		if err != nil || string(answer.Data) != "none" {
			t.Errorf("the response to %s: %v, %v", service, answer, err)
		}
	}
	must(t, nc.LastError())
}

func TestEveryServiceReceivesUserChanges(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, auth := s.connect(t, "auth")
	_, err := auth.Publish(t.Context(), wire.SubjectChanged+".7", nil)
	must(t, err)
	for _, service := range postgres.Services() {
		nc, js := s.connect(t, service)
		consumer, err := js.CreateConsumer(t.Context(), wire.StreamUsers, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
		must(t, err)
		msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err != nil || msg.Subject() != wire.SubjectChanged+".7" {
			t.Errorf("%s receives %v, %v", service, msg, err)
		}
		must(t, nc.LastError())
	}
}

func TestPurchasesAreAskedAndAnswered(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, auth := s.connect(t, "auth")
	_, err := auth.Publish(t.Context(), wire.SubjectChanged+".7", nil)
	must(t, err)
	catalogConn, catalog := s.connect(t, "catalog")
	answers, err := catalogConn.SubscribeSync(wire.SubjectAnswered + ".replica")
	must(t, err)
	ack, err := catalog.PublishMsgAsync(nats.NewMsg(wire.SubjectRequested))
	must(t, err)
	select {
	case <-ack.Ok():
	case err := <-ack.Err():
		t.Fatal(err)
	}

	billingConn, billing := s.connect(t, "billing")
	must(t, makePurchases(t.Context(), billing)) // as at every start
	for stream, cfg := range durable {
		consumer, err := billing.CreateOrUpdateConsumer(t.Context(), stream, cfg)
		must(t, err)
		msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
		must(t, err)
		must(t, billingConn.Publish(wire.SubjectAnswered+".replica", []byte(stream)))
		_, err = billing.Consumer(t.Context(), stream, cfg.Durable) // to measure the lag
		must(t, err)
		must(t, msg.DoubleAck(t.Context())) // waits for NATS's acknowledgement
		answer, err := answers.NextMsg(patience)
		if err != nil || string(answer.Data) != stream {
			t.Errorf("catalog receives %v, %v", answer, err)
		}
	}
	must(t, catalogConn.LastError())
	must(t, billingConn.LastError())
}

// The operator sees everything, and so do tests that log in as the operator.
func TestOperator(t *testing.T) {
	t.Parallel()
	s := open(t)
	nc, js := s.connect(t, Operator)
	sub, err := nc.SubscribeSync(">")
	must(t, err)
	purchases, err := js.Stream(t.Context(), wire.StreamPurchases)
	must(t, err)
	must(t, purchases.Purge(t.Context()))
	must(t, js.DeleteStream(t.Context(), wire.StreamUsers))
	if _, err := sub.NextMsg(patience); err != nil {
		t.Error(err)
	}
	must(t, nc.LastError())
}
