package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"lavka/libs/service/pg"
	"lavka/services/catalog/internal/catalog"
	"lavka/services/catalog/internal/postgres"
)

const (
	purchasesUsage = "purchases show ID, purchases pending"
	// pendingShown is the most purchases that purchases pending lists.
	pendingShown = 100
)

// inspectPurchases runs the commands that begin with "purchases". They only read.
func inspectPurchases(ctx context.Context, cfg Config, args []string, out io.Writer) error {
	var inspect func(*postgres.Store) error
	switch {
	case len(args) == 2 && args[0] == "show":
		id, err := uuid.Parse(args[1])
		if err != nil || len(args[1]) != 36 {
			return fmt.Errorf("%q is not the id of a purchase: an id is a UUID such as 01a20a47-504a-7759-b295-5f4d6f836fdc", args[1])
		}
		inspect = func(s *postgres.Store) error { return showPurchase(ctx, s, id, out) }
	case len(args) == 1 && args[0] == "pending":
		inspect = func(s *postgres.Store) error { return listPending(ctx, s, out) }
	default:
		return fmt.Errorf("unknown command %q; the commands are %s", strings.Join(append([]string{"purchases"}, args...), " "), purchasesUsage)
	}
	return withStore(ctx, cfg, "purchases", inspect)
}

// withStore calls f with a Store that has one session, for a command.
func withStore(ctx context.Context, cfg Config, command string, f func(*postgres.Store) error) error {
	pool, err := pg.OpenForCommand(ctx, cfg.DatabaseURL.Reveal(), service+" "+command)
	if err != nil {
		return err
	}
	defer pool.Close()
	pools := pg.OnePool(pool)
	defer pools.Close()
	return f(postgres.New(pools, pool, postgres.Terms{}))
}

func showPurchase(ctx context.Context, store *postgres.Store, id uuid.UUID, out io.Writer) error {
	p, err := store.InspectPurchase(ctx, id)
	if errors.Is(err, catalog.ErrPurchaseNotFound) {
		return fmt.Errorf("no purchase has the id %s", id)
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	line("purchase", "%s", p.ID)
	line("state", "%s", p.Status)
	line("product", "%d %q", p.ProductID, p.Title)
	line("buyer", "user %d", p.UserID)
	line("bill", "%d", p.BillID)
	line("price", "%s", p.Price)
	line("quantity", "%d", p.Quantity)
	line("amount", "%s", p.Amount)
	line("created", "%s", moment(p.CreatedAt, p.ReadAt))
	line("expires", "%s", moment(p.ExpiresAt, p.ReadAt))
	if p.Status == catalog.Pending {
		line("next send", "%s", moment(p.NextSendAt, p.ReadAt))
	}
	line("sent again", "%d times", p.Resent)
	if p.SettledAt != nil {
		line("settled", "%s", moment(*p.SettledAt, p.ReadAt))
	}
	if p.Reason != "" {
		line("decline reason", "%s", p.Reason)
	}
	if p.Balance != nil {
		line("balance", "%s, when it was declined", *p.Balance)
	}
	if p.TransactionID != nil {
		line("transaction", "%d", *p.TransactionID)
	}
	line("trace id", "%s", traceID(p.Trace))
	return w.Flush()
}

func listPending(ctx context.Context, store *postgres.Store, out io.Writer) error {
	oldest, total, err := store.OldestPending(ctx, pendingShown)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d pending", total)
	if total > len(oldest) {
		fmt.Fprintf(w, "; the oldest %d:", len(oldest))
	}
	fmt.Fprintln(w)
	for i, p := range oldest {
		if i == 0 {
			fmt.Fprintln(w, "purchase\tage\tnext send\tsent again\tbuyer\tbill\tamount")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d times\tuser %d\t%d\t%s\n",
			p.ID, p.ReadAt.Sub(p.CreatedAt).Round(time.Second), distance(p.NextSendAt, p.ReadAt), p.Resent, p.UserID, p.BillID, p.Amount)
	}
	return w.Flush()
}

// moment returns a time in UTC, and how far it is from now.
func moment(at, now time.Time) string {
	return fmt.Sprintf("%s (%s)", at.UTC().Format(time.RFC3339), distance(at, now))
}

func distance(at, now time.Time) string {
	if d := at.Sub(now).Round(time.Second); d > 0 {
		return "in " + d.String()
	}
	return now.Sub(at).Round(time.Second).String() + " ago"
}

// traceID returns the trace id in a W3C traceparent, or "none".
func traceID(traceparent string) string {
	if parts := strings.Split(traceparent, "-"); len(parts) == 4 {
		return parts[1]
	}
	return "none"
}
