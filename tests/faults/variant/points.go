package variant

// The points, named by the service and the step that it has just done.
const (
	// Auth has changed a user but not published it; auth has published it but not
	// recorded that.
	AuthChanged, AuthPublished = "auth.changed", "auth.published"
	// Catalog has inserted a group's purchases but not committed; has committed but
	// not sent the requests; has claimed rows for the sweeper but not sent them; has
	// written billing's answers but not woken the waiting requests.
	CatalogInserted, CatalogPlaced, CatalogClaimed, CatalogAnswered = "catalog.inserted", "catalog.placed", "catalog.claimed", "catalog.answered"
	// Catalog has inserted a refund but not committed; has committed but not sent it;
	// has written billing's answers about refunds but not woken the waiting requests.
	RefundInserted, RefundPlaced, RefundAnswered = "catalog.refund-inserted", "catalog.refund-placed", "catalog.refund-answered"
	// Billing has locked a group's bills; has written the group but not committed;
	// has committed but sent no answer; has answered but not acknowledged the
	// message.
	BillingLocked, BillingWritten, BillingCommitted, BillingAnswered = "billing.locked", "billing.written", "billing.committed", "billing.answered"
)

// Points are all points.
func Points() []string {
	return []string{
		AuthChanged, AuthPublished,
		CatalogInserted, CatalogPlaced, CatalogClaimed, CatalogAnswered, RefundInserted, RefundPlaced, RefundAnswered,
		BillingLocked, BillingWritten, BillingCommitted, BillingAnswered,
	}
}

// WithPoints is the services as they are, but for the points.
func WithPoints() Variant {
	const imports = "import (\n"
	const withPoint = "import (\n\t\"lavka/libs/point\"\n\n"
	reach := func(name string) string { return `point.Reach("` + name + `")` }
	v := Variant{
		Name: "points",
		Race: true,
		Adds: map[string]string{"libs/point/point.go": "tests/faults/point/point.go"},
		Edits: []Edit{
			{publisher, "\tfor try := 1; ; try++ {\n", "\t" + reach(AuthChanged) + "\n\tfor try := 1; ; try++ {\n"},
			{publisher, "\t\treturn p.source.MarkPublished(", "\t\t" + reach(AuthPublished) + "\n\t\treturn p.source.MarkPublished("},

			{placing, "\tif err := tx.CommitWith(ctx, batch); err != nil {\n",
				"\tif err := tx.SendBatch(ctx, batch).Close(); err != nil {\n\t\treturn pg.Wrap(\"insert purchases\", err)\n\t}\n\t" + reach(CatalogInserted) + "\n\tif err := tx.Commit(ctx); err != nil {\n"},
			{orders, "\ts.Requests.Send(ctx, pending, s.unsent)\n", "\tif len(pending) > 0 {\n\t\t" + reach(CatalogPlaced) + "\n\t}\n\ts.Requests.Send(ctx, pending, s.unsent)\n"},
			{sweep, "\tfor _, p := range due {\n", "\tif len(due) > 0 {\n\t\t" + reach(CatalogClaimed) + "\n\t}\n\tfor _, p := range due {\n"},
			{answers, "\tfor _, p := range settled.Written {\n", "\t" + reach(CatalogAnswered) + "\n\tfor _, p := range settled.Written {\n"},

			{refundStore, "\t\treturn adminlog.Write(", "\t\t" + reach(RefundInserted) + "\n\t\treturn adminlog.Write("},
			{refunds, "\tanswer, first := s.join(placed.ID)\n", "\t" + reach(RefundPlaced) + "\n\tanswer, first := s.join(placed.ID)\n"},
			{refunds, "\tfor _, r := range settled {\n", "\tif len(settled) > 0 {\n\t\t" + reach(RefundAnswered) + "\n\t}\n\tfor _, r := range settled {\n"},

			{ledger, "\tresults, changes := billing.Decide(state, items)\n", "\t" + reach(BillingLocked) + "\n\tresults, changes := billing.Decide(state, items)\n"},
			{ledger, "\tif err := tx.CommitWith(ctx, b); err != nil {\n",
				"\tif err := tx.SendBatch(ctx, b).Close(); err != nil {\n\t\treturn nil, err\n\t}\n\t" + reach(BillingWritten) + "\n\tif err := tx.Commit(ctx); err != nil {\n"},
			{ledger, "\treturn results, nil\n", "\t" + reach(BillingCommitted) + "\n\treturn results, nil\n"},
			// A published message stays in a buffer for a moment: flush, so that it has been sent.
			{delivery, "\t\terr = d.msg.Ack()\n", "\t\tif point.Armed(\"" + BillingAnswered + "\") {\n\t\t\t_ = d.nc.Flush()\n\t\t\t" + reach(BillingAnswered) + "\n\t\t}\n\t\terr = d.msg.Ack()\n"},
		},
	}
	for _, file := range []string{publisher, placing, orders, sweep, ledger, delivery, answers, refunds, refundStore} {
		v.Edits = append(v.Edits, Edit{file, imports, withPoint})
	}
	return v
}
