package e2e

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsio "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/deploy/local/stack"
	"lavka/deploy/nats"
	"lavka/libs/host/freeport"
	"lavka/libs/testkit/waittest"
)

// cluster is a NATS cluster of three servers, each configured as the shop's single server is.
type cluster struct {
	servers   []*server.Server
	passwords map[string]string // by user
	stores    []string
	ports     []int // of the routes
	clients   []int
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{passwords: map[string]string{}, servers: make([]*server.Server, 3)}
	for _, user := range nats.Users() {
		c.passwords[user] = rand.Text()
	}
	port := func() int {
		p, err := freeport.Take()
		must(t, err)
		return p
	}
	for range c.servers {
		c.ports, c.clients, c.stores = append(c.ports, port()), append(c.clients, port()), append(c.stores, t.TempDir())
	}
	for i := range c.servers {
		c.start(t, i)
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.Shutdown()
			s.WaitForShutdown()
		}
	})
	waittest.Eventually(t, "the servers have agreed on a leader", func() bool {
		for _, s := range c.servers {
			if s.JetStreamIsLeader() {
				return true
			}
		}
		return false
	})
	return c
}

func (c *cluster) start(t *testing.T, i int) {
	t.Helper()
	opts, err := nats.Options(c.passwords)
	must(t, err)
	opts.ServerName, opts.Host, opts.Port, opts.StoreDir, opts.NoLog, opts.NoSigs = "nats-"+strconv.Itoa(i), "127.0.0.1", c.clients[i], c.stores[i], true, true
	opts.Cluster = server.ClusterOpts{Name: "lavka", Host: "127.0.0.1", Port: c.ports[i]}
	var routes []string
	for _, port := range c.ports {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	opts.Routes = server.RoutesFromStr(strings.Join(routes, ","))
	c.servers[i], err = server.NewServer(opts)
	must(t, err)
	c.servers[i].Start()
	if !c.servers[i].ReadyForConnections(patience) {
		t.Fatal("a NATS server did not start in time")
	}
}

// url returns a user's connection URLs for all servers, separated by commas.
func (c *cluster) url(user string) string {
	var all []string
	for _, port := range c.clients {
		u := url.URL{Scheme: "nats", User: url.UserPassword(user, c.passwords[user]), Host: "127.0.0.1:" + strconv.Itoa(port)}
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// Each stream has a replica on each of three servers, and the shop keeps working while any one of them is down.
func TestNATSLosesAServer(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s := startShop(t, func(cfg *stack.Config) {
		cfg.NATSURL = c.url(nats.Operator)
		cfg.Env = map[string]string{"NATS_STREAM_REPLICAS": "3"}
		cfg.Adjust = func(service string, _ int, env map[string]string) error {
			env["NATS_URL"] = c.url(service)
			return nil
		}
	})
	nc, err := natsio.Connect(c.url(nats.Operator), natsio.MaxReconnects(-1))
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	replicated := func() bool { // all replicas exist and are up to date
		for _, name := range []string{"USERS", "PURCHASES"} {
			stream, err := js.Stream(t.Context(), name)
			if err != nil {
				return false
			}
			info := stream.CachedInfo()
			if info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
				return false
			}
			for _, r := range info.Cluster.Replicas {
				if r.Offline || !r.Current {
					return false
				}
			}
		}
		return true
	}
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a hook", "1")
	bought := 0
	buy := func() {
		t.Helper()
		a := u.call(t, "POST", "/purchases", purchaseOf(product, bill))
		if a.status != 201 && a.status != 202 {
			t.Fatalf("purchase: %s, want 201 or 202", a)
		}
		bought++
		if end := settled(t, u, a); end != "completed" {
			t.Errorf("the purchase ended as %s", end)
		}
	}
	for i := range c.servers {
		waittest.Eventually(t, "every server has an up-to-date replica", replicated)
		c.servers[i].Shutdown()
		c.servers[i].WaitForShutdown()
		for range 3 {
			buy()
		}
		s.disable(t, s.newUser(t))
		c.start(t, i)
	}
	waittest.Eventually(t, "every server has an up-to-date replica", replicated)
	if b := u.balance(t, bill); b != strconv.Itoa(100-bought) {
		t.Errorf("the balance is %s after %d purchases of 1, want %d", b, bought, 100-bought)
	}
	must(t, s.verify(t.Context()))
}
