package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lavka/deploy/local/stack"
)

// During a rollout, and after going back, the release before works on this one's schema. The file RELEASE says which it is.
func TestTheReleaseBeforeWorksOnThisSchema(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/RELEASE")
	must(t, err)
	name, commit, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	before := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, root, commit, before)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("the sources of %s: %v: %s", name, err, out)
	}
	bin := filepath.Join(t.TempDir(), "bin")
	must(t, stack.Build(t.Context(), before, bin, true))

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
		t.Errorf("the balance is %s", b)
	}
	late := old.newUser(t)
	old.bill(t, late, "1")
	old.disable(t, late)
	must(t, old.verify(t.Context()))
}
