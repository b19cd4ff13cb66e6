package natsproxy

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Direction is a way through the proxy.
type Direction int

// The directions. The zero Direction of a Rule stands for both.
const (
	ToServer Direction = iota + 1 // PUB and HPUB
	ToClient                      // MSG and HMSG
)

// Message is what a rule is asked about. Its bytes are the proxy's: they must
// not be changed or kept.
type Message struct {
	Direction      Direction
	Subject, Reply string
	Header, Data   []byte
}

// Stream is the JetStream stream that a message was delivered from, or whose
// delivery it acknowledges; "" when it is neither.
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

// Rule says what happens to some messages. Of the rules that match a message,
// the first counts.
type Rule struct {
	// What it is about; left empty, a condition is always met.
	Subject   string             // with * and >, as in a subscription
	Stream    string             // see Message.Stream
	Direction Direction          // 0: both
	Match     func(Message) bool // must neither block nor use the proxy

	// The probabilities, from 0 to 1, that a message is dropped, and if not,
	// that it is sent twice, and that it (or each of the two) is held back.
	Drop, Duplicate, Delay float64
	// MaxDelay is the longest that one is held back: a random time up to it,
	// so that messages overtake each other. 0 means 100 ms.
	MaxDelay time.Duration
}

func (r Rule) matches(m Message) bool {
	return (r.Direction == 0 || r.Direction == m.Direction) &&
		(r.Subject == "" || covers(r.Subject, m.Subject)) &&
		(r.Stream == "" || r.Stream == m.Stream()) &&
		(r.Match == nil || r.Match(m))
}

// covers says whether a subject is one that a pattern stands for.
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

// roll throws the dice: after which delays a message is sent, once for each.
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
