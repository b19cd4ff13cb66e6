package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lavka/deploy/postgres"
	"lavka/libs/contract/wire"
	"lavka/libs/testkit/natstest"
)

// rule lists the services that may use a subject; all others are refused.
type rule struct {
	subject string
	may     []string
}

var (
	nobody   []string
	auth     = []string{"auth"}
	catalog  = []string{"catalog"}
	billing  = []string{"billing"}
	askers   = []string{"catalog", "billing"}
	everyone = postgres.Services()
)

var publishing = []rule{
	{"users.changed.7", auth},
	{"users.changed", nobody},
	{"users.changed.7.x", nobody},
	{"users.revocations", askers},
	{"purchases.requested", catalog},
	{"purchases.requested.x", nobody},
	{"purchases.answered.replica", billing},
	{"purchases.answered", nobody},
	{"purchases.answered.replica.x", nobody},
	{"anything", nobody},

	// Streams: a service may only create its own.
	{"$JS.API.STREAM.INFO.USERS", auth},
	{"$JS.API.STREAM.CREATE.USERS", auth},
	{"$JS.API.STREAM.UPDATE.USERS", auth},
	{"$JS.API.STREAM.DELETE.USERS", nobody},
	{"$JS.API.STREAM.PURGE.USERS", nobody},
	{"$JS.API.STREAM.MSG.DELETE.USERS", nobody},
	{"$JS.API.STREAM.MSG.GET.USERS", nobody},
	{"$JS.API.STREAM.SNAPSHOT.USERS", nobody},
	{"$JS.API.STREAM.RESTORE.USERS", nobody},
	{"$JS.API.STREAM.LEADER.STEPDOWN.USERS", nobody},
	{"$JS.API.STREAM.PEER.REMOVE.USERS", nobody},
	{"$JS.API.STREAM.INFO.PURCHASES", nobody},
	{"$JS.API.STREAM.CREATE.PURCHASES", billing},
	{"$JS.API.STREAM.UPDATE.PURCHASES", billing},
	{"$JS.API.STREAM.DELETE.PURCHASES", nobody},
	{"$JS.API.STREAM.PURGE.PURCHASES", nobody},
	{"$JS.API.STREAM.MSG.DELETE.PURCHASES", nobody},
	{"$JS.API.STREAM.MSG.GET.PURCHASES", nobody},
	{"$JS.API.STREAM.SNAPSHOT.PURCHASES", nobody},
	{"$JS.API.STREAM.RESTORE.PURCHASES", nobody},
	{"$JS.API.STREAM.CREATE.MINE", nobody},
	{"$JS.API.STREAM.LIST", nobody},
	{"$JS.API.STREAM.NAMES", nobody},
	{"$JS.API.DIRECT.GET.USERS", nobody},
	{"$JS.API.DIRECT.GET.USERS.users.changed.7", auth},
	{"$JS.API.DIRECT.GET.PURCHASES", nobody},
	{"$JS.API.DIRECT.GET.PURCHASES.purchases.requested", nobody},

	// Consumers: one of users for each service, and billing's own.
	{"$JS.API.CONSUMER.CREATE.USERS", nobody},
	{"$JS.API.CONSUMER.CREATE.USERS.random", everyone},
	{"$JS.API.CONSUMER.CREATE.USERS.random.users.changed.7", nobody},
	{"$JS.API.CONSUMER.CREATE.USERS.billing", billing},
	{"$JS.API.CONSUMER.CREATE.USERS.billing.users.changed.7", nobody},
	{"$JS.API.CONSUMER.DURABLE.CREATE.USERS.billing", nobody},
	{"$JS.API.CONSUMER.MSG.NEXT.USERS.random", everyone},
	{"$JS.API.CONSUMER.MSG.NEXT.USERS.billing", billing},
	{"$JS.API.CONSUMER.INFO.USERS.billing", billing},
	{"$JS.API.CONSUMER.INFO.USERS.random", nobody},
	{"$JS.API.CONSUMER.DELETE.USERS.billing", nobody},
	{"$JS.API.CONSUMER.PAUSE.USERS.billing", nobody},
	{"$JS.API.CONSUMER.RESET.USERS.billing", nobody},
	{"$JS.API.CONSUMER.LIST.USERS", nobody},
	{"$JS.API.CONSUMER.NAMES.USERS", nobody},
	{"$JS.API.CONSUMER.CREATE.PURCHASES.billing", billing},
	{"$JS.API.CONSUMER.CREATE.PURCHASES.mine", nobody},
	{"$JS.API.CONSUMER.CREATE.PURCHASES.mine.purchases.requested", nobody},
	{"$JS.API.CONSUMER.DURABLE.CREATE.PURCHASES.mine", nobody},
	{"$JS.API.CONSUMER.INFO.PURCHASES.billing", billing},
	{"$JS.API.CONSUMER.INFO.PURCHASES.mine", nobody},
	{"$JS.API.CONSUMER.MSG.NEXT.PURCHASES.billing", billing},
	{"$JS.API.CONSUMER.DELETE.PURCHASES.billing", nobody},
	{"$JS.API.CONSUMER.NAMES.PURCHASES", nobody},
	{"$JS.ACK.PURCHASES.billing.1.1.1.1.0", billing},
	{"$JS.ACK.PURCHASES.mine.1.1.1.1.0", nobody},
	{"$JS.ACK.USERS.billing.1.1.1.1.0", billing},
	{"$JS.ACK.USERS.random.1.1.1.1.0", nobody},

	// Subjects of NATS itself, and of other users.
	{"$JS.API.INFO", nobody},
	{"$JS.API.ACCOUNT.PURGE.LAVKA", nobody},
	{"$JS.API.META.LEADER.STEPDOWN", nobody},
	{"$JS.FC.USERS.random.x", nobody},
	{"$JS.EVENT.ADVISORY.API", nobody},
	{"$KV.bucket.key", nobody},
	{"$SYS.REQ.SERVER.PING", nobody},
	{"$SYS.REQ.SERVER.PING.CONNZ", nobody},
	{"$SYS.REQ.ACCOUNT.PING.CONNZ", nobody},
	{"$SYS.REQ.USER.INFO", nobody},
	{"_INBOX.auth.x", nobody},
	{"_INBOX.catalog.x", nobody},
	{"_INBOX.billing.x", nobody},
	{"_R_.x", nobody},
}

var subscribing = []rule{
	{"users.revocations", auth},
	{"users.changed.*", nobody},
	{"users.changed.7", nobody},
	{"users.>", nobody},
	{"purchases.requested", nobody},
	{"purchases.answered.*", catalog},
	{"purchases.answered.replica", catalog},
	{"purchases.answered.>", catalog}, // for NATS, * permits > too; no service can publish further down
	{"purchases.*", nobody},
	{"_INBOX.auth.>", auth},
	{"_INBOX.catalog.>", catalog},
	{"_INBOX.billing.>", billing},
	{"_INBOX.auth", nobody},
	{"_INBOX.*.x", nobody},
	{"_INBOX.>", nobody},
	{"*.>", nobody},
	{">", nobody},
	{"$JS.API.>", nobody},
	{"$JS.ACK.>", nobody},
	{"$JS.EVENT.>", nobody},
	{"$JSC.>", nobody},
	{"$SYS.>", nobody},
	{"$SYS.ACCOUNT.LAVKA.>", nobody},
	{"_R_.>", nobody},
	{"_GR_.>", nobody},
}

func TestPermissionsOfServices(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, service := range postgres.Services() {
		nc, _ := s.connect(t, service)
		// check does something and checks whether NATS reports a violation at once.
		check := func(r rule, violation string, err error) {
			t.Helper()
			must(t, err)
			must(t, nc.Flush())
			last := nc.LastError()
			refused := errors.Is(last, nats.ErrPermissionViolation) && strings.HasSuffix(last.Error(), "Permissions Violation for "+violation)
			if may := slices.Contains(r.may, service); refused == may {
				t.Errorf("%s: refused %s: %v, want %v", service, violation, refused, !may)
			}
		}
		for _, r := range publishing {
			check(r, fmt.Sprintf("Publish to %q", r.subject), nc.Publish(r.subject, nil))
		}
		for _, r := range subscribing {
			_, err := nc.SubscribeSync(r.subject)
			check(r, fmt.Sprintf("Subscription to %q", r.subject), err)
			_, err = nc.QueueSubscribeSync(r.subject, "group")
			check(r, fmt.Sprintf(`Subscription to %q using queue "group"`, r.subject), err)
		}
	}
}

// The subject of a request and its body contradict each other.
func TestTheSubjectLimitsTheBody(t *testing.T) {
	t.Parallel()
	s := open(t)
	nc, _ := s.connect(t, "catalog")
	for _, body := range []string{
		`{"stream_name": "PURCHASES", "config": {"name": "random", "ack_policy": "explicit"}}`,
		`{"stream_name": "USERS", "config": {"durable_name": "billing", "ack_policy": "explicit"}}`,
		`{"stream_name": "USERS", "config": {"name": "random", "durable_name": "billing", "ack_policy": "explicit"}}`,
		`{"stream_name": "USERS", "config": {"name": "random", "ack_policy": "none", "deliver_subject": "users.changed.7"}}`,
		`{"stream_name": "USERS", "config": {"name": "random", "ack_policy": "none", "deliver_subject": "users.changed.*"}}`,
	} {
		answer, err := nc.Request("$JS.API.CONSUMER.CREATE.USERS.random", []byte(body), patience)
		must(t, err)
		var said struct{ Error *jetstream.APIError }
		must(t, json.Unmarshal(answer.Data, &said))
		if said.Error == nil {
			t.Errorf("%s: %s", body, answer.Data)
		}
	}
	_, operator := s.connect(t, Operator)
	for _, stream := range []string{wire.StreamUsers, wire.StreamPurchases} {
		its, err := operator.Stream(t.Context(), stream)
		must(t, err)
		if n := its.CachedInfo().State.Consumers; n != 1 {
			t.Errorf("%s has %d consumers", stream, n)
		}
	}
}

func TestUnknownRolesCannotConnect(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, login := range [][2]string{
		{"auth", ""},
		{"auth", "wrong"},
		{"auth", s.passwords["billing"]},
		{"", s.passwords["auth"]},
		{"", ""},
		{"stranger", s.passwords["auth"]},
		{"sys", ""},
		{"$SYS", ""},
	} {
		if nc, err := natstest.Connect(s.ClientURL(), nats.UserInfo(login[0], login[1])); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%q with %q: %v", login[0], login[1], err)
			nc.Close()
		}
	}
	if nc, err := natstest.Connect(s.ClientURL()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("an unknown user: %v", err)
		nc.Close()
	}
	// Not even the operator can access the server's own account.
	nc, _ := s.connect(t, Operator)
	if answer, err := nc.Request("$SYS.REQ.SERVER.PING", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("the server's own account: %v, %v", answer, err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, js := s.connect(t, Operator)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "THIRD", Subjects: []string{"third"}}); err == nil {
		t.Error("a third stream was created")
	}
	if _, err := js.CreateConsumer(t.Context(), wire.StreamUsers, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 20_001}); err == nil {
		t.Error("a consumer may have more unacknowledged messages than billing's")
	}
	if size := js.Conn().MaxPayload(); size != 64<<10 {
		t.Errorf("messages may be %d bytes long", size)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	passwords := map[string]string{}
	for _, user := range Users() {
		passwords[user] = "password of " + user
	}
	opts, err := Options(passwords)
	must(t, err)
	var users []string
	for _, u := range opts.Users {
		users = append(users, u.Username)
		if !strings.HasPrefix(u.Password, "$2a$") {
			t.Errorf("the server is given the plain password of %s", u.Username)
		}
	}
	slices.Sort(users)
	if want := slices.Sorted(slices.Values(Users())); !slices.Equal(users, want) {
		t.Errorf("nats.conf has the users %v, want %v", users, want)
	}
	for _, wrong := range []string{"", strings.Repeat("x", 73)} {
		passwords["auth"] = wrong
		if _, err := Options(passwords); err == nil || wrong != "" && strings.Contains(err.Error(), wrong) {
			t.Errorf("a password of %d characters: %v", len(wrong), err)
		}
	}
}

// The way operators use it: the file itself, with plain passwords in the environment.
func TestFile(t *testing.T) {
	s := &testServer{passwords: map[string]string{}}
	for _, user := range Users() {
		s.passwords[user] = "plain-" + user
		t.Setenv(Variable(user), s.passwords[user])
	}
	opts, err := server.ProcessConfigFile("nats.conf")
	must(t, err)
	s.run(t, opts)
	for _, user := range Users() {
		s.connect(t, user)
	}
}
