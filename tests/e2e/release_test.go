package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"lavka/deploy/local/stack"
	"lavka/libs/contract/wire"
	"lavka/libs/testkit/natstest"
	"lavka/libs/testkit/waittest"
)

// During a rollout, and after a rollback, the previous release works on this release's schema and with this release's services.
// The file RELEASE names the previous release.
func TestTheReleaseBefore(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/RELEASE")
	must(t, err)
	name, commit, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	before := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, root, commit, before)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpack the sources of %s: %v: %s", name, err, out)
	}
	bin := filepath.Join(t.TempDir(), "bin")
	must(t, stack.Build(t.Context(), before, bin, true))

	t.Run("its auth and this one's on one schema", func(t *testing.T) {
		data := filepath.Join(t.TempDir(), "data")
		must(t, startShop(t, func(c *stack.Config) { c.DataDir = data }).Stop()) // migrates
		sharesUsers(t, startShop(t, func(c *stack.Config) { c.DataDir, c.BinDir = data, bin }))
	})
	t.Run("on this schema", func(t *testing.T) {
		data := filepath.Join(t.TempDir(), "data")
		s := startShop(t, func(c *stack.Config) { c.DataDir = data })
		u := s.newUser(t)
		bill, product := s.bill(t, u, "10"), s.product(t, "a bell", "1")
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
		must(t, s.Stop())

		old := startShop(t, func(c *stack.Config) { c.DataDir, c.BinDir = data, bin })
		u.base = old.GatewayURL()
		u.logIn(t)
		u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
		old.pay(t, u.id, bill, "5")
		if b := u.balance(t, bill); b != "13" {
			t.Errorf("the balance is %s, want 13", b)
		}
		late := old.newUser(t)
		old.bill(t, late, "1")
		old.disable(t, late)
		must(t, old.verify(t.Context()))

		// The release before never says that it can do its work. A replica of this one
		// that can't leaves its place to it, and one that can is ready at once.
		conn, err := pgx.Connect(t.Context(), old.AdminDatabaseURL())
		must(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
		_, err = conn.Exec(t.Context(), `TRUNCATE billing.serving`) // as if only the release before had ever run
		must(t, err)
		unable(t, old.beside(t, filepath.Join(binDir, stack.Billing), stack.Billing, map[string]string{"NATS_STREAM_REPLICAS": "3"}).internal, "may be able to")

		// While the release before runs, the gate for new kinds of rows can't be opened.
		if out, err := old.asOwner(t, stack.Billing, "migrate", "finish").CombinedOutput(); err == nil || !strings.Contains(string(out), "(billing ledger)") {
			t.Errorf("billing migrate finish beside the release before: %v: %s", err, out)
		}
		old.beside(t, filepath.Join(binDir, stack.Billing), stack.Billing, nil).awaitReady(t)
	})
	t.Run("under load, until the gate is open", func(t *testing.T) { opensUnderLoad(t, bin) })
	for _, service := range stack.Services() {
		t.Run("its "+service+" beside the others of this one", func(t *testing.T) {
			mixed := t.TempDir()
			for _, binary := range stack.Services() {
				from := binDir
				if binary == service {
					from = bin
				}
				must(t, os.Symlink(filepath.Join(from, binary), filepath.Join(mixed, binary)))
			}
			s := startShop(t, func(c *stack.Config) { c.BinDir = mixed })
			beside(t, s)
			switch service {
			case stack.Billing:
				chargesNoRefund(t, s)
			case stack.Catalog:
				leavesRefundsAlone(t, s)
			}
		})
	}
}

// sharesUsers starts an auth of this release beside one of the release before: what a
// user or an admin ends through either has ended at both.
func sharesUsers(t *testing.T, old *shopUnderTest) {
	t.Helper()
	newcomer := old.beside(t, filepath.Join(binDir, stack.Auth), stack.Auth, nil).awaitReady(t)
	through := func(release *shopUnderTest, token string) *client {
		if release == nil {
			return &client{base: newcomer.url, token: token}
		}
		return &client{base: release.GatewayURL(), token: token}
	}
	logIn := func(at *shopUnderTest, u *user) (access, refresh string) {
		a := through(at, "").want(t, 200, "", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
		return a.str("access_token"), a.str("refresh_token")
	}
	refresh := func(at *shopUnderTest, token string, status int) (access, next string) {
		t.Helper()
		code := map[int]string{401: "refresh_token_invalid"}[status]
		a := through(at, "").want(t, status, code, "POST", "/auth/refresh", map[string]any{"refresh_token": token})
		return a.str("access_token"), a.str("refresh_token")
	}
	u := old.newUser(t) // their first session was started by the release before
	_, second := logIn(old, u)
	access, third := logIn(nil, u)

	// One session, and all others.
	list := through(nil, access).want(t, 200, "", "GET", "/auth/sessions", nil)
	if list.str("items.2.id") == "" || list.str("items.3.id") != "" || list.str("items.0.current") != "true" {
		t.Errorf("%s", list)
	}
	through(nil, u.token).want(t, 409, "log_in_again", "DELETE", "/auth/sessions?others=true", nil)
	through(nil, access).want(t, 204, "", "DELETE", "/auth/sessions/"+list.str("items.1.id"), nil) // the second
	refresh(old, second, 401)
	access, third = refresh(old, third, 200)
	through(nil, access).want(t, 409, "log_in_again", "DELETE", "/auth/sessions?others=true", nil)
	access, third = refresh(nil, third, 200)
	through(nil, access).want(t, 204, "", "DELETE", "/auth/sessions?others=true", nil)
	refresh(old, u.refresh, 401)
	_, third = refresh(old, third, 200)
	old.untilRefused(t, u)

	// All, by an admin.
	admin := through(nil, old.adminToken(t))
	admin.want(t, 204, "", "DELETE", fmt.Sprintf("/users/%d/sessions", u.id), nil)
	refresh(old, third, 401)
	_, kept := logIn(old, u)
	refresh(nil, kept, 200)

	// Links to reset the password are void after changes through the release before.
	link := func() string {
		l := admin.want(t, 201, "", "POST", fmt.Sprintf("/users/%d/password-reset", u.id), nil).str("link")
		return l[strings.LastIndex(l, "=")+1:]
	}
	confirm := func(token string, status int, code string) {
		t.Helper()
		through(nil, "").want(t, status, code, "POST", "/auth/password-reset/confirm", map[string]any{"token": token, "new_password": "quite-another-battery-staple-80"})
	}
	void := link()
	u.logIn(t)
	next := u.password + " next"
	u.want(t, 204, "", "POST", "/auth/password", map[string]any{"old_password": u.password, "new_password": next})
	u.password = next
	confirm(void, 404, "reset_not_found")
	void = link()
	old.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": false})
	old.admin.want(t, 200, "", "PATCH", fmt.Sprint("/users/", u.id), map[string]any{"enabled": true})
	confirm(void, 404, "reset_not_found")
	u.logIn(t)
	confirm(link(), 204, "")
	refresh(old, u.refresh, 401)
	u.want(t, 401, "invalid_credentials", "POST", "/auth/login", map[string]any{"login": u.login, "password": u.password})
	u.password = "quite-another-battery-staple-80"
	u.logIn(t)
}

// beside makes many purchases at once, so that they share messages where releases
// allow it: no purchase waits for the sweeper, and no message is rejected as unreadable.
func beside(t *testing.T, s *shopUnderTest) {
	const times, atOnce = 3, 48
	u := s.newUser(t)
	bill, product := s.bill(t, u, "1000"), s.product(t, "a bell", "1")
	for range times {
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				if a, err := u.do(t.Context(), "POST", "/purchases", purchaseOf(product, bill)); err != nil || a.status != 201 {
					t.Errorf("%s, %v", a, err)
				}
			})
		}
		all.Wait()
	}
	s.pay(t, u.id, bill, "44")
	if b := u.balance(t, bill); b != "900" {
		t.Errorf("the balance is %s", b)
	}
	conn, err := pgx.Connect(t.Context(), s.AdminDatabaseURL())
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	kept := -1
	must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM billing.rejected_messages`).Scan(&kept))
	if kept != 0 {
		t.Errorf("billing rejected %d messages as unreadable, want none", kept)
	}
	must(t, s.verify(t.Context()))
}

// chargesNoRefund gives the release before, as billing, requests of refunds: it must
// charge nothing, and send no answer.
func chargesNoRefund(t *testing.T, s *shopUnderTest) {
	t.Helper()
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a gong", "30")
	bought, err := uuid.Parse(u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill)).str("id"))
	must(t, err)
	ask := s.database(t, stack.Billing)
	before := ask(`SELECT count(*) FROM billing.charges`)
	nc, err := natstest.Connect(s.NATSURL())
	must(t, err)
	defer nc.Close()
	answers, err := nc.SubscribeSync(wire.SubjectAnswered + ".test")
	must(t, err)
	one := wire.RefundRequested{V: wire.VersionRefund, RefundID: uuid.New(), OfPurchase: bought, Payer: u.id, Bill: bill, Minor: 1000}
	other := one
	other.RefundID = uuid.New()
	for _, group := range [][]wire.RefundRequested{{one}, {one, other}} {
		data, err := wire.EncodeGroup(group)
		must(t, err)
		must(t, nc.PublishMsg(&nats.Msg{Subject: wire.SubjectRequested, Data: data, Header: nats.Header{wire.HeaderReply: {answers.Subject}}}))
	}
	waittest.Eventually(t, "billing has kept both as unreadable", func() bool {
		return ask(`SELECT count(*) FROM billing.rejected_messages`) == int64(2)
	})
	if after := ask(`SELECT count(*) FROM billing.charges`); after != before {
		t.Errorf("%v charges, before the refunds %v", after, before)
	}
	if b := u.balance(t, bill); b != "70" {
		t.Errorf("the balance is %s", b)
	}
	must(t, nc.Flush())
	if n, _, err := answers.Pending(); err != nil || n != 0 {
		t.Errorf("%d answers, %v", n, err)
	}
}

// leavesRefundsAlone gives the release before, as catalog, answers about refunds, under
// the ids of its purchases: they must stay as they are.
func leavesRefundsAlone(t *testing.T, s *shopUnderTest) {
	t.Helper()
	u := s.newUser(t)
	bill, product := s.bill(t, u, "100"), s.product(t, "a gong", "30")
	nc, err := natstest.Connect(s.NATSURL())
	must(t, err)
	defer nc.Close()
	answers, err := nc.SubscribeSync(wire.SubjectAnswered + ".*")
	must(t, err)
	must(t, nc.Flush())
	bought := u.want(t, 201, "", "POST", "/purchases", purchaseOf(product, bill))
	replica, err := answers.NextMsgWithContext(t.Context())
	must(t, err)
	must(t, s.Replicas(stack.Billing)[0].Stop())
	pending := u.want(t, 202, "", "POST", "/purchases", purchaseOf(product, bill))
	rows := func() any {
		return s.database(t, stack.Catalog)(`SELECT string_agg(format('%s %s %s %s', id, status, transaction_id, settled_at), ', ' ORDER BY id) FROM catalog.purchases`)
	}
	before := rows()
	metrics := &client{base: s.Replicas(stack.Catalog)[0].InternalURL()}
	tx := int64(7)
	var group []wire.RefundAnswered
	for _, a := range []answer{bought, pending} {
		id, err := uuid.Parse(a.str("id"))
		must(t, err)
		group = append(group, wire.RefundAnswered{V: wire.VersionRefund, RefundID: id, Outcome: wire.Refunded, TransactionID: &tx})
	}
	for _, group := range [][]wire.RefundAnswered{group[:1], group[1:], group} {
		data, err := wire.EncodeGroup(group)
		must(t, err)
		must(t, nc.Publish(replica.Subject, data))
	}
	waittest.Eventually(t, "catalog has read the answers", func() bool {
		a, err := metrics.plain(t.Context(), "/metrics")
		return err == nil && strings.Contains(string(a.body), "\ncatalog_answers_unreadable_total 3\n")
	})
	if after := rows(); after != before {
		t.Errorf("purchases are %v, were %v", after, before)
	}
	must(t, s.Replicas(stack.Billing)[0].Start(t.Context()))
	if end := settled(t, u, pending); end != "completed" {
		t.Errorf("the purchase ended as %s", end)
	}
}
