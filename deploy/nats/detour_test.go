package nats

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/libs/contract/wire"
)

// NATS itself may publish on any subject, and a service can partly choose which: a request names its reply subject, a consumer its delivery subject.
// Nothing that NATS publishes this way is taken as a request.
func TestNATSDoesNotOrderItselfAbout(t *testing.T) {
	t.Parallel()
	for name, order := range map[string]string{
		"delete": "$JS.API.STREAM.DELETE.PURCHASES",
		"purge":  "$JS.API.STREAM.PURGE.PURCHASES",
	} {
		for way, send := range detours {
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				s := open(t)
				watcher, operator := s.connect(t, Operator)
				orders, err := watcher.SubscribeSync(order)
				must(t, err)
				_, err = operator.Publish(t.Context(), wire.SubjectRequested, nil)
				must(t, err)
				send(t, s, order)
				if _, err := orders.NextMsg(patience); err != nil {
					t.Fatalf("the detour does not work: %v", err)
				}
				// A request that gets a response follows it.
				if err := operator.DeleteStream(t.Context(), "NONE"); !errors.Is(err, jetstream.ErrStreamNotFound) {
					t.Fatal(err)
				}
				stream, err := operator.Stream(t.Context(), wire.StreamPurchases)
				must(t, err)
				if n := stream.CachedInfo().State.Msgs; n == 0 {
					t.Error("the request is gone")
				}
			})
		}
	}
}

// These gaps are known (ADR 21): permissions restrict subjects, not what NATS does on a user's behalf with other subjects. A failure here means that a
// new release of NATS has closed a gap: correct the ADR.
func TestGapsThatAreKnown(t *testing.T) {
	t.Parallel()
	for way, send := range detours {
		t.Run("NATS puts a user's message somewhere else by "+way, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			watcher, _ := s.connect(t, Operator)
			heard, err := watcher.SubscribeSync("_INBOX.billing.x")
			must(t, err)
			must(t, watcher.Flush())
			send(t, s, "_INBOX.billing.x")
			if _, err := heard.NextMsg(patience); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("the owner of a stream has it say what others should", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		nc, billing := s.connect(t, "billing")
		watcher, _ := s.connect(t, Operator)
		heard, err := watcher.SubscribeSync("users.changed.7")
		must(t, err)
		must(t, watcher.Flush())
		_, err = billing.UpdateStream(t.Context(), jetstream.StreamConfig{
			Name: wire.StreamPurchases, Subjects: []string{"purchases.answered.*"}, Retention: jetstream.WorkQueuePolicy,
			Storage: jetstream.MemoryStorage, MaxBytes: 256 << 20, Discard: jetstream.DiscardNew,
			RePublish: &jetstream.RePublish{Source: "purchases.answered.*", Destination: "users.changed.{{wildcard(1)}}"},
		})
		must(t, err)
		must(t, nc.Publish("purchases.answered.7", []byte("forged")))
		if msg, err := heard.NextMsg(patience); err != nil || string(msg.Data) != "forged" {
			t.Errorf("%v, %v", msg, err)
		}
	})
}

// detours make NATS publish on a subject that catalog itself may not use.
var detours = map[string]func(t *testing.T, s *testServer, to string){
	"an acknowledgement": func(t *testing.T, s *testServer, to string) {
		nc, _ := s.connect(t, "catalog")
		must(t, nc.PublishRequest(wire.SubjectRequested, to, nil))
	},
	"a reply": func(t *testing.T, s *testServer, to string) {
		nc, _ := s.connect(t, "catalog")
		must(t, nc.PublishRequest("$JS.API.CONSUMER.CREATE.USERS.random", to, []byte(`{"stream_name": "USERS", "config": {"name": "random"}}`)))
	},
	"pulled messages": func(t *testing.T, s *testServer, to string) {
		nc := s.consumer(t, `"ack_policy": "none", "headers_only": true`)
		must(t, nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.USERS.random", to, nil))
	},
	"pushed messages": func(t *testing.T, s *testServer, to string) {
		s.consumer(t, `"ack_policy": "none", "headers_only": true, "deliver_subject": "`+to+`"`)
	},
}

// consumer creates a consumer of users for catalog. There is one user.
func (s *testServer) consumer(t *testing.T, config string) *nats.Conn {
	t.Helper()
	_, auth := s.connect(t, "auth")
	_, err := auth.Publish(t.Context(), wire.SubjectChanged+".7", []byte("{}"))
	must(t, err)
	nc, _ := s.connect(t, "catalog")
	_, err = nc.Request("$JS.API.CONSUMER.CREATE.USERS.random", []byte(`{"stream_name": "USERS", "config": {"name": "random", `+config+`}}`), patience)
	must(t, err)
	return nc
}
