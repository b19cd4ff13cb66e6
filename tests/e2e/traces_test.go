package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"lavka/deploy/local/stack"
	"lavka/deploy/local/traces"
	"lavka/libs/contract/wire"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

// newTrace returns a new trace id, and a traceparent header that makes a request part of that trace.
func newTrace() (id string, header []string) {
	b := make([]byte, 24)
	rand.Read(b)
	id = hex.EncodeToString(b[:16])
	return id, []string{"traceparent", "00-" + id + "-" + hex.EncodeToString(b[16:]) + "-01"}
}

const completed = `
	catalog POST /purchases 201 completed
	. catalog insert group
	. catalog send purchases.requested
	. . billing process purchases.requested settled
	. . . billing settle group
	. . . billing send purchases.answered
	. . . . catalog process purchases.answered settled
	. . . . . catalog result group
`

// Each operation is one trace from beginning to end, across HTTP and NATS.
func TestTraces(t *testing.T) {
	t.Parallel()
	s, c := traced(t, nil)
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a lantern", "3")

	t.Run("a purchase", func(t *testing.T) {
		id, header := newTrace()
		a := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill), header...)
		for _, span := range c.want(t, id, completed) {
			if strings.HasPrefix(span.Name, "process") && span.Attributes["lavka.purchase_id"] != a.str("id") {
				t.Errorf("%s: %v, want purchase %s", span.Name, span.Attributes, a.str("id"))
			}
		}
	})
	t.Run("a request without a traceparent", func(t *testing.T) {
		a := u.want(t, 422, "validation_failed", "POST", "/purchases", map[string]any{"product_id": 0, "bill_id": bill})
		c.want(t, a.str("trace_id"), "catalog POST /purchases 422")
	})
	t.Run("a decline", func(t *testing.T) {
		id, header := newTrace()
		a := u.want(t, 402, "insufficient_funds", "POST", "/purchases", purchaseOf(s.product(t, "a lighthouse", "3000"), bill), header...)
		if a.str("trace_id") != id {
			t.Errorf("%s, want trace %s", a, id)
		}
		c.want(t, id, `
			catalog POST /purchases 402 insufficient_funds
			. catalog insert group
			. catalog send purchases.requested
			. . billing process purchases.requested insufficient_funds
			. . . billing settle group
			. . . billing send purchases.answered
			. . . . catalog process purchases.answered insufficient_funds
			. . . . . catalog result group
		`)
	})
	t.Run("a purchase that is delivered twice", func(t *testing.T) {
		nc, err := natstest.Connect(s.NATSURL())
		must(t, err)
		defer nc.Close()
		requests, err := nc.SubscribeSync(wire.SubjectRequested)
		must(t, err)
		must(t, nc.Flush())
		id, header := newTrace()
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill), header...)
		msg, err := requests.NextMsg(patience)
		must(t, err)
		must(t, nc.PublishMsg(&nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}))
		spans := c.want(t, id, completed+`
			. . billing process purchases.requested settled repeat
			. . . billing settle group
			. . . billing send purchases.answered
			. . . . catalog process purchases.answered settled
			. . . . . catalog result group
		`)
		decided := slices.IndexFunc(spans, func(s traces.Span) bool {
			return s.Name == "process purchases.requested" && s.Attributes["lavka.repeat"] == ""
		})
		repeat := slices.IndexFunc(spans, func(s traces.Span) bool { return s.Attributes["lavka.repeat"] != "" })
		if want := (traces.Link{TraceID: id, SpanID: spans[decided].ID}); !slices.Contains(spans[repeat].Links, want) {
			t.Errorf("the repeat's links are %v, want one to the decision %v", spans[repeat].Links, want)
		}
	})
	t.Run("a purchase whose bill is locked for a while", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), s.AdminDatabaseURL())
		must(t, err)
		tx, err := conn.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), `SELECT FROM billing.bills WHERE id = $1 FOR UPDATE`, bill)
		must(t, err)
		id, header := newTrace()
		a := u.want(t, 202, "", "POST", "/purchases", purchaseOf(product, bill), header...)
		must(t, conn.Close(t.Context()))
		if end := settled(t, u, a); end != "completed" {
			t.Fatalf("the purchase ended as %s", end)
		}
		process := func(outcome, again string) bool {
			spans, err := c.store.Trace(id)
			return err == nil && slices.ContainsFunc(spans, func(s traces.Span) bool {
				return s.Name == "process purchases.requested" && s.Attributes["lavka.outcome"] == outcome && (s.Attributes["lavka.delivery"] != "") == (again != "")
			})
		}
		waittest.Eventually(t, "the trace shows that the bill was locked, and that the redelivery was settled", func() bool {
			return process("held", "") && process("settled", "again")
		})
	})
	t.Run("a payment", func(t *testing.T) {
		id, header := newTrace()
		provider := &client{base: s.Replicas(stack.Billing)[0].URL()}
		payment := newPayment()
		body := s.payment(payment, u.id, bill, "5")
		provider.want(t, 200, "", "POST", "/payment/webhook", body, header...)
		spans := c.want(t, id, `
			billing POST /payment/webhook 200 credited
			. billing settle group
		`)
		if spans[0].Attributes["lavka.payment_id"] != fmt.Sprint(payment) || spans[0].Attributes["lavka.bill_id"] != fmt.Sprint(bill) {
			t.Errorf("%v", spans[0].Attributes)
		}
		id, header = newTrace()
		provider.want(t, 200, "", "POST", "/payment/webhook", body, header...)
		c.want(t, id, `
			billing POST /payment/webhook 200 repeated
			. billing settle group
		`)
	})
	t.Run("a registration that reaches billing, and a login", func(t *testing.T) {
		id, header := newTrace()
		login := fmt.Sprintf("buyer%d", serial.Add(1))
		a := s.admin.want(t, 201, "", "POST", "/auth/register", map[string]any{"login": login, "password": password}, header...)
		c.want(t, id, `
			auth POST /auth/register 201
			. auth read group
			. auth read group
			. auth send users.changed
			. . billing process users.changed
		`)
		id, header = newTrace()
		s.admin.want(t, 403, "user_inactive", "POST", "/auth/login", map[string]any{"login": login, "password": password}, header...)
		c.want(t, id, "auth POST /auth/login 403 user_inactive\n. auth read group")
		id, header = newTrace()
		s.admin.want(t, 200, "", "GET", strings.TrimPrefix(a.str("activation_link"), s.GatewayURL()), nil, header...)
		c.want(t, id, `
			auth GET /auth/activate/:token 200
			. auth read group
			. auth send users.changed
			. . billing process users.changed
		`)
		id, header = newTrace()
		s.admin.want(t, 200, "", "POST", "/auth/login", map[string]any{"login": login, "password": password}, header...)
		c.want(t, id, "auth POST /auth/login 200 ok\n. auth read group")
	})
	t.Run("a request that fails", func(t *testing.T) {
		must(t, s.Postgres().Crash())
		id, header := newTrace()
		u.want(t, 503, "unavailable", "GET", "/bills", nil, header...)
		c.want(t, id, `
			billing GET /bills 503 FAILED
			. billing read group
		`)
	})
}

// A late completion belongs to the trace of the request that made the purchase.
func TestATraceOfALateCompletion(t *testing.T) {
	t.Parallel()
	s, c := traced(t, func(c *stack.Config) { c.Catalog.Env = map[string]string{"PURCHASE_WAIT": "500ms"} })
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a match", "1")
	must(t, s.Replicas(stack.Billing)[0].Crash())
	id, header := newTrace()
	a := u.want(t, 202, "", "POST", "/purchases", purchaseOf(product, bill), header...)
	s.NATS().Stop()
	must(t, s.NATS().Wipe()) // the request message is lost: only the sweeper can republish it
	must(t, s.NATS().Start())
	must(t, s.Replicas(stack.Billing)[0].Start(t.Context()))
	if end := settled(t, u, a); end != "completed" {
		t.Fatalf("the purchase ended as %s", end)
	}
	c.want(t, id, `
		catalog POST /purchases 202 pending
		. catalog insert group
		. catalog send purchases.requested
		. catalog send purchases.requested sent_again
		. . billing process purchases.requested settled
		. . . billing settle group
		. . . billing send purchases.answered
		. . . . catalog process purchases.answered settled
		. . . . . catalog result group
	`)
}

// A collector that accepts connections but never responds delays neither purchases
// nor the shutdown of the shop.
func TestACollectorThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	asked := make(chan struct{}, 1000)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			asked <- struct{}{}
		}
	}()
	s := startShop(t, func(c *stack.Config) {
		c.Env = map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + l.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
			"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "10",
		}
	})
	u := s.newUser(t)
	bill, product := s.bill(t, u, "1000"), s.product(t, "a bell", "1")
	<-asked
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				if a, err := u.do(t.Context(), "POST", "/purchases", purchaseOf(product, bill)); err != nil || a.status != 201 && a.status != 202 {
					t.Errorf("%s, %v", a, err)
				}
			}
		})
	}
	all.Wait()
	waittest.Eventually(t, "all purchases are settled", func() bool { return u.balance(t, bill) == "680" })
	for _, service := range stack.Services() { // a hanging collector must not keep a service from stopping
		must(t, s.Replicas(service)[0].Stop())
	}
	output, err := os.ReadFile(s.output)
	must(t, err)
	if i := bytes.Index(output, []byte("killing it")); i >= 0 {
		t.Errorf("a service did not stop by itself: %s", output[max(0, i-200):min(len(output), i+200)])
	}
}
