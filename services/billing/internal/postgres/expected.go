package postgres

import "lavka/libs/service/schemacheck"

// Expected is what billing's rules rest on. What decides a purchase or a payment looks
// for an earlier decision first, and these indexes refuse what it could miss.
//
// bill_ids is not among the sequences: the payment provider's ids of bills may be
// higher, and OpenBill goes on until it has found an id that is free.
var Expected = schemacheck.Expected{
	Schema: Schema,
	Guards: []string{
		"bill_keys_pkey ON billing.bill_keys USING btree (user_id, idempotency_key)",
		"bills_pkey ON billing.bills USING btree (id)",
		"charges_pkey ON billing.charges USING btree (purchase_id)",
		"charges_transaction_id_key ON billing.charges USING btree (transaction_id)",
		"comparisons_pkey ON billing.comparisons USING btree (id)",
		"customers_pkey ON billing.customers USING btree (user_id)",
		"lineage_pkey ON billing.lineage USING btree (one)",
		"opened_pkey ON billing.opened USING btree (one)",
		"refunds_pkey ON billing.refunds USING btree (id)",
		"refunds_refund_id_key ON billing.refunds USING btree (refund_id)",
		"refused_payments_content_key ON billing.refused_payments USING btree (content)",
		"refused_payments_pkey ON billing.refused_payments USING btree (id)",
		"rejected_messages_key_key ON billing.rejected_messages USING btree (key)",
		"rejected_messages_pkey ON billing.rejected_messages USING btree (id)",
		"reversals_pkey ON billing.reversals USING btree (id)",
		"reversals_reversal_id_key ON billing.reversals USING btree (reversal_id)",
		"schema_version_pkey ON billing.schema_version USING btree (id)",
		"serving_pkey ON billing.serving USING btree (one)",
		"transactions_payment ON billing.transactions USING btree (payment_id) WHERE (payment_id IS NOT NULL)",
		"transactions_pkey ON billing.transactions USING btree (id)",
		"transactions_purchase ON billing.transactions USING btree (purchase_id) WHERE (purchase_id IS NOT NULL)",
		"transactions_refund ON billing.transactions USING btree (refund_id) WHERE (refund_id IS NOT NULL)",
		"transactions_reversal ON billing.transactions USING btree (reversal_id) WHERE (reversal_id IS NOT NULL)",
		"verification_steps_pkey ON billing.verification_steps USING btree (step)",
		"verifications_pkey ON billing.verifications USING btree (id)",
	},
	Sequences: []schemacheck.Sequence{
		{Name: "transaction_ids", Table: "transactions", Column: "id"},
		{Name: "transaction_ids", Table: "refunds", Column: "id"},
		{Name: "transaction_ids", Table: "reversals", Column: "id"},
	},
}
