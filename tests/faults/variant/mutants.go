package variant

// Mutant is a deliberately broken service.
type Mutant struct {
	Variant
	Service string
	Also    string // a second service that is broken, or ""
	Breaks  string // a sentence that says what is broken
}

const (
	decide         = "services/billing/internal/billing/decide.go"
	ledger         = "services/billing/internal/postgres/ledger.go"
	settle         = "services/billing/internal/postgres/settle.go"
	customer       = "services/billing/internal/postgres/customer.go"
	requests       = "services/billing/internal/bus/purchases.go"
	delivery       = "services/billing/internal/bus/purchase_delivery.go"
	placing        = "services/catalog/internal/postgres/purchase_place.go"
	settling       = "services/catalog/internal/postgres/purchase_settle.go"
	orders         = "services/catalog/internal/catalog/purchases.go"
	sweep          = "services/catalog/internal/catalog/purchase_sweep.go"
	due            = "services/catalog/internal/postgres/purchase_sweep.go"
	answers        = "services/catalog/internal/catalog/purchase_answers.go"
	refunds        = "services/catalog/internal/catalog/refunds.go"
	refundStore    = "services/catalog/internal/postgres/refund.go"
	refundRow      = "services/catalog/internal/catalog/refund.go"
	refundDecision = "services/billing/internal/billing/refund.go"
	reversal       = "services/billing/internal/billing/reversal.go"
	products       = "services/catalog/internal/postgres/product.go"
	complete       = "libs/service/complete/complete.go"
	publisher      = "services/auth/internal/bus/publisher.go"
	reset          = "services/auth/internal/postgres/reset.go"
	resetDecision  = "services/auth/internal/auth/reset.go"
	sessionEnd     = "services/auth/internal/postgres/session_end.go"
)

// Mutants returns the broken services.
func Mutants() []Mutant {
	all := []Mutant{
		mutant("charge-before-lookup", "billing", "billing decides on a purchase without looking up an earlier decision",
			Edit{decide, "if known := g.Charges[r.PurchaseID]; known != nil {", "if known := g.Charges[r.PurchaseID]; known != nil && r.Unreadable {"}),

		mutant("answer-before-commit", "billing", "billing answers before its COMMIT",
			Edit{ledger, "\tdefer tx.Rollback(context.WithoutCancel(ctx))\n", "\tdefer func() {\n\t\tif err != nil {\n\t\t\ttx.Rollback(context.WithoutCancel(ctx))\n\t\t}\n\t}()\n"},
			Edit{ledger, "\tif err := tx.CommitWith(ctx, b); err != nil {\n", "\tgo func() {\n\t\ttime.Sleep(30 * time.Millisecond)\n\t\t_ = tx.CommitWith(context.WithoutCancel(ctx), b)\n\t}()\n\tif err != nil {\n"}),

		mutant("skip-bill-lock", "billing", "billing reads bills without locking them",
			Edit{ledger, "\twait lock = \"FOR UPDATE\"", "\twait lock = \"\""}),

		mutant("lose-an-item", "billing", "billing answers every item of a group, but does not write the last one",
			Edit{ledger, "\tb := write(changes)\n", `	if n := len(changes.Transactions) - 1; n > 0 {
		lost := changes.Transactions[n]
		changes.Transactions = changes.Transactions[:n]
		changes.Balances[lost.BillID].Balance -= lost.Amount
		for i, c := range changes.Charges {
			if c.TransactionID != nil && *c.TransactionID == lost.ID {
				changes.Charges = append(changes.Charges[:i], changes.Charges[i+1:]...)
				break
			}
		}
	}
	b := write(changes)
`}),

		mutant("ack-before-commit", "billing", "billing acknowledges a request before it has decided it",
			Edit{requests, "\tpurchases, err := read(msg.Data())\n", "\t_ = msg.Ack()\n\tpurchases, err := read(msg.Data())\n"}),

		mutant("forget-sweeper", "catalog", "catalog never retries a request",
			Edit{sweep, "\tdue, err := s.Store.Due(", "\treturn 0, nil\n\tdue, err := s.Store.Due("}),

		mutant("sweep-no-expired", "catalog", "catalog does not retry the requests of purchases that have expired",
			Edit{due, "WHERE status = 'pending' AND next_send_at <= now()", "WHERE status = 'pending' AND next_send_at <= now() AND expires_at > now()"}),

		mutant("credit-a-replay", "billing", "billing credits a repeated payment again",
			Edit{decide, "\tcase repeat:\n\t\treturn CreditedBefore", "\tcase repeat:\n\t\tbill.Balance += p.Amount\n\t\tg.changes.Balances[bill.ID] = bill\n\t\treturn CreditedBefore"}),

		mutant("stale-user", "billing", "billing replaces the newer state of a user with an older one",
			Edit{customer, "\n\t\tWHERE customers.version < EXCLUDED.version`", "`"}),

		mutant("repeat-before-lock", "billing", "billing answers a repeat without waiting for the lock on the bill",
			Edit{settle, "\tresults, err := s.settleAgain(ctx, items, wait)\n", `	early, rest := s.answeredBefore(ctx, items)
	if len(rest) == 0 {
		return early
	}
	if len(rest) < len(items) {
		later := s.Settle(ctx, rest)
		for i := range early {
			if early[i] == nil {
				early[i], later = later[0], later[1:]
			}
		}
		return early
	}
	results, err := s.settleAgain(ctx, items, wait)
`},
			Edit{settle, "\nfunc (s *Store) settleAgain(", `
func (s *Store) answeredBefore(ctx context.Context, items []billing.Item) (early []billing.Result, rest []billing.Item) {
	early = make([]billing.Result, len(items))
	for i, item := range items {
		var n int
		if p, ok := item.(*billing.Payment); ok {
			err := s.ledger.QueryRow(ctx, "SELECT count(*) FROM billing.transactions WHERE payment_id = $1 AND bill_id = $2 AND amount = $3",
				p.ID, p.BillID, p.Amount).Scan(&n)
			if err != nil {
				n = 0
			}
		}
		if n == 0 {
			rest = append(rest, item)
			continue
		}
		early[i] = billing.CreditedBefore{}
	}
	return early, rest
}

func (s *Store) settleAgain(`}),

		mutant("conflict-do-nothing", "billing", "billing inserts into the ledger with ON CONFLICT DO NOTHING",
			Edit{ledger, "$6::bigint[], $7::uuid[])`,\n\t\t\t\tids, bills", "$6::bigint[], $7::uuid[]) ON CONFLICT DO NOTHING`,\n\t\t\t\tids, bills"},
			Edit{ledger, "$7::bigint[], $8::text[])`,\n\t\t\tids, users", "$7::bigint[], $8::text[]) ON CONFLICT DO NOTHING`,\n\t\t\tids, users"}),

		mutant("published-unsaid", "auth", "auth records that a user was published without publishing the user",
			Edit{publisher, "\t_, err := p.js.PublishMsg(ctx, msg, ", "\t_, err := func(context.Context, *nats.Msg, ...jetstream.PublishOpt) (any, error) { return nil, nil }(ctx, msg, "}),

		mutant("refund-without-earlier", "billing", "billing and catalog refund without looking at earlier refunds",
			Edit{refundDecision, "r.Amount > charge.Request.Amount-before", "r.Amount > charge.Request.Amount"},
			Edit{refundRow, "left := p.Amount - before.Amount", "left := p.Amount"}),

		mutant("refund-to-another-bill", "billing", "billing credits a refund to another bill of its group, if there is one",
			Edit{decide, "\t\tid := r.RefundID\n", "\t\tfor other, b := range g.Bills {\n\t\t\tif other != r.BillID {\n\t\t\t\tbill = b\n\t\t\t}\n\t\t}\n\t\tid := r.RefundID\n"}),

		mutant("refund-charged", "billing", "billing charges a refund instead of crediting it",
			Edit{decide, "Transaction{ID: d.ID, Amount: r.Amount, Type: TypeRefund, RefundID: &id}", "Transaction{ID: d.ID, Amount: -min(r.Amount, bill.Balance), Type: TypePurchase, PurchaseID: &id}"}),

		mutant("reversal-not-cumulative", "billing", "billing takes the total of a reversal as what is due",
			Edit{reversal, "due := max(0, r.Total-before)", "due := max(0, r.Total)"}),

		mutant("stock-back-twice", "catalog", "catalog gives stock back for each answer that declines a purchase, instead of for each row that it settles",
			Edit{settling, "\t\t\t\tFROM settled\n\t\t\t\tWHERE status = 'declined' AND stock_taken > 0\n",
				"\t\t\t\tFROM unnest($1::uuid[], $2::text[]) AS asked (asked_id, asked_status)\n\t\t\t\tJOIN catalog.purchases ON id = asked_id\n\t\t\t\tWHERE asked_status = 'declined' AND stock_taken > 0\n"}),

		mutant("stock-taken-afterwards", "catalog", "catalog takes stock after the transaction that inserts the purchases",
			Edit{placing, "\tif takes {\n", "\tif takes && n < 0 {\n"},
			Edit{placing, "\torders.Placed(inserted)\n\treturn nil\n", "\torders.Placed(inserted)\n\tfor _, p := range inserted {\n\t\tif p.StockTaken > 0 {\n\t\t\t_, err = s.groups.Exec(ctx, `UPDATE catalog.stock SET on_hand = on_hand - $2 WHERE product_id = $1`, p.ProductID, p.StockTaken)\n\t\t}\n\t}\n\treturn nil\n"}),

		mutant("search-as-short-read", "catalog", "catalog compares each title with a search, in the sessions of all requests",
			Edit{products, "\t\treturn s.search(ctx, q)\n", `		where, order, args := listed(q)
		sql := fmt.Sprintf("SELECT "+productColumns+" FROM catalog.products WHERE %s AND position($%d IN title_folded) > 0 ORDER BY %s LIMIT $1", where, len(args)+1, order)
		return pg.Collect(ctx, s.reads, "search products", scanProduct, withinPage(sql), append(args, q.Title)...)
`}),

		mutant("complete-by-the-clock", "billing", "billing takes complete_until from the clock, and not from which transactions have ended",
			Edit{complete, "w.pending[n].id <= oldest; n++ {", "w.pending[n].id > 0; n++ {"}),

		mutant("reset-link-twice", "auth", "auth resets a password as often as its link is used",
			Edit{resetDecision, "link.Version != user.ResetVersion || ", ""},
			Edit{reset, "WHERE user_id = $1 AND expires_at >= now()`", "WHERE user_id = $1 AND expires_at < now()`"}),

		mutant("ended-session-token", "auth", "auth ends sessions without revoking their access tokens",
			Edit{sessionEnd, "SET token_version = token_version + 1, ", "SET "}),

		mutant("log-afterwards", "catalog", "catalog writes the admins' log after the transaction of the change",
			Edit{products, "\treturn p, logged(ctx, tx, admin, \"change\", p.ID, members(before), members(p))\n", `	stored := p
	go func() {
		time.Sleep(300 * time.Millisecond)
		_ = pg.InTx(context.WithoutCancel(ctx), s.pool, func(tx *pg.Tx) error {
			return logged(ctx, tx, admin, "change", stored.ID, members(before), members(stored))
		})
	}()
	return p, nil
`},
			Edit{products, "\t\"strconv\"\n", "\t\"strconv\"\n\t\"time\"\n"}),
	}
	// These are caught at a point, or break two services.
	for i, m := range all {
		if m.Name == "refund-without-earlier" {
			all[i].Also = "catalog"
		}
		if m.Name == "ack-before-commit" {
			points := WithPoints()
			all[i].Adds, all[i].Edits = points.Adds, append(m.Edits, points.Edits...)
		}
	}
	return all
}

func mutant(name, service, breaks string, edits ...Edit) Mutant {
	return Mutant{Variant: Variant{Name: name, Edits: edits}, Service: service, Breaks: breaks}
}
