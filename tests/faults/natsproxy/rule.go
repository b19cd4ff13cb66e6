package natsproxy

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Direction is the direction of a message through the proxy.
type Direction int

// The directions. In a Rule, zero means both.
const (
	ToServer Direction = iota + 1 // PUB and HPUB
	ToClient                      // MSG and HMSG
)

// Message is the message that rules are matched against. Its bytes belong to the
// proxy: they must not be changed or kept.
type Message struct {
	Direction      Direction
	Subject, Reply string
	Header, Data   []byte
}

// Stream returns the JetStream stream that a message was delivered from, or
// whose delivery it acknowledges; "" if it is neither.
func (m Message) Stream() string {
	for _, subject := range []string{m.Reply, m.Subject} {
		t := strings.Split(subject, ".")
		if len(t) < 2 || t[0] != "$JS" || t[1] != "ACK" {
			continue
		}
		// $JS.ACK.<stream>.<consumer> and five numbers, or, since 2.14,
		// $JS.ACK.<domain>.<account>.<stream>.<consumer> and more.
		switch {
		case len(t) == 9:
			return t[2]
		case len(t) >= 11:
			return t[4]
		}
	}
	return ""
}

// Rule determines what happens to the messages that match it. The first rule
// that matches a message applies.
type Rule struct {
	// The messages that the rule applies to; an empty condition matches all.
	Subject   string             // with * and >, as in a subscription
	Stream    string             // see Message.Stream
	Direction Direction          // 0: both
	Match     func(Message) bool // must neither block nor use the proxy

	// The probabilities, from 0 to 1, that a message is dropped; if not, that
	// it is sent twice; and that it (or each of the two copies) is held back.
	Drop, Duplicate, Delay float64
	// MaxDelay is the maximum delay. Each delay is random, so that messages
	// overtake each other. 0 means 100 ms.
	MaxDelay time.Duration
}

func (r Rule) matches(m Message) bool {
	return (r.Direction == 0 || r.Direction == m.Direction) &&
		(r.Subject == "" || covers(r.Subject, m.Subject)) &&
		(r.Stream == "" || r.Stream == m.Stream()) &&
		(r.Match == nil || r.Match(m))
}

// covers reports whether a subject matches a pattern.
func covers(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		if token == ">" {
			return i < len(s)
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(p) == len(s)
}

// roll decides at random what happens to a message: it returns one delay for
// each time that the message is sent, and none if it is dropped.
func (r Rule) roll(random *rand.Rand) []time.Duration {
	chance := func(p float64) bool { return random.Float64() < p }
	if chance(r.Drop) {
		return nil
	}
	delays := make([]time.Duration, 1, 2)
	if chance(r.Duplicate) {
		delays = delays[:2]
	}
	longest := r.MaxDelay
	if longest <= 0 {
		longest = 100 * time.Millisecond
	}
	for i := range delays {
		if chance(r.Delay) {
			delays[i] = 1 + time.Duration(random.Int64N(int64(longest)))
		}
	}
	return delays
}
