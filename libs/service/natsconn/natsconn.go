// Package natsconn connects to NATS the way every service here does: for ever,
// and without a buffer that would send stale messages after an outage.
package natsconn

import (
	"errors"
	"fmt"
	"log/slog"
	neturl "net/url"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Connect opens a connection that is made again for ever (nats.go's default
// gives up after 60 tries). It returns at once when the server is away. What
// is published while disconnected fails at once: every message here can be
// sent again from its row. So does what a server does not take off the network
// for two seconds, and then the connection is made again. OnConnect is called at each connect and reconnect,
// from the connection's own goroutine, and must not block.
//
// The name is the service's. Replies come in under _INBOX.<name>, so that NATS
// can keep them from other services. A password that NATS refuses is one more
// reason to try again, since passwords are changed; what it forbids is logged,
// and a request for it ends when its context does.
func Connect(url, name string, log *slog.Logger, onConnect func()) (*nats.Conn, error) {
	// The libraries' texts repeat parts of the URL, which may be the password's.
	unreadable := errors.New("NATS_URL can't be read as a URL (for example nats://user:password@127.0.0.1:4222)")
	if _, err := neturl.Parse(url); err != nil {
		return nil, unreadable
	}
	var refused atomic.Bool
	connected := func(nc *nats.Conn) {
		log.Info("connected to NATS", "server", nc.ConnectedServerName())
		refused.Store(false)
		onConnect()
	}
	report := func(err error, subject string) {
		// One line for a password, however often it is tried.
		if !errors.Is(err, nats.ErrAuthorization) || !refused.Swap(true) {
			log.Warn("NATS reports an error", "subject", subject, "error", err)
		}
	}
	nc, err := nats.Connect(url,
		nats.Name(name),
		nats.CustomInboxPrefix("_INBOX."+name),
		nats.IgnoreAuthErrorAbort(),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(2*time.Second),
		nats.FlusherTimeout(2*time.Second), // whoever publishes waits so long, and by default a minute
		nats.ReconnectOnFlusherError(),     // half a message may be on the way
		nats.ConnectHandler(connected),
		nats.ReconnectHandler(connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if errors.Is(err, nats.ErrAuthorization) { // at the first try; others go to the next handler
				report(err, "")
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			report(err, subject)
		}),
	)
	if err != nil { // a server that is away is none
		return nil, unreadable
	}
	return nc, nil
}

// Measure adds the metric nats_connected, 1 while connected. NATS being away is
// something to know, and no reason to be unready.
func Measure(registry prometheus.Registerer, nc *nats.Conn) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nats_connected", Help: "1 while connected to NATS.",
	}, func() float64 {
		if nc.IsConnected() {
			return 1
		}
		return 0
	}))
}

// DrainLimit is how long a service waits for NATS when it stops.
const DrainLimit = 5 * time.Second

// Drain ends a connection's subscriptions, lets their handlers finish, sends
// what is still to be sent, and returns when all is done or the limit is reached.
// nats.go's own Drain returns before that.
func Drain(nc *nats.Conn, limit time.Duration) error {
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	if err := nc.Drain(); err != nil {
		nc.Close()
		if errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrConnectionClosed) {
			return nil // nothing can be on its way
		}
		return fmt.Errorf("drain NATS: %w", err)
	}
	select {
	case <-closed:
		return nil
	case <-time.After(limit):
		nc.Close()
		return fmt.Errorf("drain NATS: not done in %v", limit)
	}
}

// Missing reports whether a stream or consumer is not there (any more): its
// owner makes it again.
func Missing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse)
}
