// Package natsconn connects to NATS the way every service here does: it retries
// forever, and has no buffer that would send stale messages after an outage.
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

// Connect opens a connection that reconnects forever (nats.go gives up after 60
// attempts by default). It returns at once even if the server is unreachable; only
// a URL that can't be parsed is an error. A publish while disconnected fails at
// once: every message here can be republished from its row. A publish that the
// server does not read within two seconds fails too, and the connection is
// re-established. Connect calls onConnect after each connect and reconnect, from
// the connection's own goroutine; it must not block.
//
// The name is the service's. Replies arrive under _INBOX.<name>, so that NATS can
// hide them from other services. If NATS rejects the password, the connection
// keeps retrying, because passwords get changed. A permissions violation is
// logged; a request that lacks the permission ends when its context does.
func Connect(url, name string, log *slog.Logger, onConnect func()) (*nats.Conn, error) {
	// The libraries' error texts repeat parts of the URL, possibly of the password.
	unreadable := errors.New("NATS_URL is not a valid URL (for example nats://user:password@127.0.0.1:4222)")
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
		// Log a rejected password once, not at every attempt.
		if !errors.Is(err, nats.ErrAuthorization) || !refused.Swap(true) {
			log.Warn("NATS reported an error", "subject", subject, "error", err)
		}
	}
	nc, err := nats.Connect(url,
		nats.Name(name),
		nats.CustomInboxPrefix("_INBOX."+name),
		nats.IgnoreAuthErrorAbort(),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.SetCustomDialer(&dialer{calls: map[string]*dialing{}}),
		nats.SkipHostLookup(),                    // the dialer looks the name up
		nats.ReconnectWait(100*time.Millisecond), // twice: the second attempt takes the connection that the first one ordered
		nats.ReconnectJitter(150*time.Millisecond, 250*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(dialLimit),
		nats.FlusherTimeout(2*time.Second), // limits how long a publish blocks; the default is a minute
		nats.ReconnectOnFlusherError(),     // a message may have been sent in part
		nats.ConnectHandler(connected),
		nats.ReconnectHandler(connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if errors.Is(err, nats.ErrAuthorization) { // at the first attempt; later ones reach ErrorHandler
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
	if err != nil { // not for an unreachable server
		return nil, unreadable
	}
	return nc, nil
}

// Because returns why something that needs NATS has failed, given its own error, which
// is often only that it took too long: the reason is the connection's, if it is down.
func Because(nc *nats.Conn, err error) error {
	if nc.IsConnected() {
		return err
	}
	if last := nc.LastError(); last != nil {
		return fmt.Errorf("not connected to NATS: %w", last)
	}
	return errors.New("not connected to NATS")
}

// Measure registers the metric nats_connected, which is 1 while connected. It is
// not part of readiness: a service stays ready while NATS is unreachable.
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

// DrainLimit is how long a stopping service waits for its connection to drain.
const DrainLimit = 5 * time.Second

// Drain ends a connection's subscriptions, lets their handlers finish, sends
// pending messages and closes the connection. It waits until that is done, which
// nats.go's own Drain does not. At the limit it closes the connection and returns
// an error.
func Drain(nc *nats.Conn, limit time.Duration) error {
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	if err := nc.Drain(); err != nil {
		nc.Close()
		if errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrConnectionClosed) {
			return nil // nothing can be in flight
		}
		return fmt.Errorf("drain NATS: %w", err)
	}
	select {
	case <-closed:
		return nil
	case <-time.After(limit):
		nc.Close()
		return fmt.Errorf("drain NATS: not finished within %v", limit)
	}
}

// Missing reports whether an error means that a stream or consumer does not exist,
// or no longer exists: its owner will create it again.
func Missing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse)
}
