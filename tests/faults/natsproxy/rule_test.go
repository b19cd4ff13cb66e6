package natsproxy

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ subject, reply, want string }{
		{"purchases.requested", "$JS.ACK.PURCHASES.billing.1.7.7.1732400000000000000.0", "PURCHASES"},
		{"purchases.requested", "$JS.ACK._.hash.PURCHASES.billing.1.7.7.1732400000000000000.0", "PURCHASES"},
		{"purchases.requested", "$JS.ACK.hub.hash.PURCHASES.billing.1.7.7.1732400000000000000.0.random", "PURCHASES"},
		{"$JS.ACK.USERS.billing.1.7.7.1732400000000000000.0", "", "USERS"},
		{"$JS.API.CONSUMER.MSG.NEXT.PURCHASES.billing", "_INBOX.x.y", ""},
		{"purchases.requested", "_INBOX.x.y", ""},
		{"$JS.ACK.PURCHASES", "", ""},
		{"$JS", "", ""},
		{"", "", ""},
	} {
		if got := (Message{Subject: c.subject, Reply: c.reply}).Stream(); got != c.want {
			t.Errorf("%s with %s is of stream %q, want %q", c.subject, c.reply, got, c.want)
		}
	}
}

func TestRuleMatches(t *testing.T) {
	t.Parallel()
	m := Message{Direction: ToClient, Subject: "users.changed.7", Reply: "$JS.ACK.USERS.billing.1.7.7.1.0", Data: []byte("ann")}
	for _, r := range []Rule{
		{}, {Subject: "users.changed.7"}, {Subject: "users.*.7"}, {Subject: "users.>"}, {Subject: ">"}, {Stream: "USERS"}, {Direction: ToClient},
		{Match: func(m Message) bool { return string(m.Data) == "ann" }},
		{Subject: "users.changed.*", Stream: "USERS", Direction: ToClient, Match: func(Message) bool { return true }},
	} {
		if !r.matches(m) {
			t.Errorf("%+v does not match", r)
		}
	}
	for _, r := range []Rule{
		{Subject: "users.changed"}, {Subject: "users.changed.7.>"}, {Subject: "users.changed.7.8"}, {Subject: "users.*"}, {Subject: "*"}, {Subject: "users.changed.70"},
		{Stream: "PURCHASES"}, {Direction: ToServer}, {Match: func(Message) bool { return false }}, {Subject: "users.>", Stream: "PURCHASES"},
	} {
		if r.matches(m) {
			t.Errorf("%+v matches", r)
		}
	}
}

func TestRoll(t *testing.T) {
	t.Parallel()
	const often = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	var dropped, doubled, delayed, copies int
	for range often {
		delays := Rule{Drop: 0.1, Duplicate: 0.5, Delay: 0.3, MaxDelay: time.Second}.roll(random)
		copies += len(delays)
		if len(delays) == 0 {
			dropped++
		}
		if len(delays) == 2 {
			doubled++
		}
		for _, d := range delays {
			if d < 0 || d > time.Second {
				t.Fatalf("delayed by %v", d)
			}
			if d > 0 {
				delayed++
			}
		}
	}
	for what, part := range map[string][2]float64{
		"dropped": {float64(dropped) / often, 0.1}, "doubled": {float64(doubled) / (often - float64(dropped)), 0.5}, "delayed": {float64(delayed) / float64(copies), 0.3},
	} {
		if part[0] < part[1]-0.03 || part[0] > part[1]+0.03 {
			t.Errorf("%.3f are %s, want %.1f", part[0], what, part[1])
		}
	}
	for range often {
		if d := (Rule{}).roll(random); len(d) != 1 || d[0] != 0 {
			t.Fatalf("a rule that does nothing: %v", d)
		}
		if d := (Rule{Delay: 1}).roll(random); d[0] <= 0 || d[0] > 100*time.Millisecond {
			t.Fatalf("delayed by %v", d[0])
		}
	}
}
