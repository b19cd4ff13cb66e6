package postgres

import "lavka/libs/service/schemacheck"

// Expected is what catalog's rules rest on: that a purchase and a refund are
// there once, and once for each key.
var Expected = schemacheck.Expected{Schema: Schema, Guards: []string{
	"lineage_pkey ON catalog.lineage USING btree (one)",
	"log_pkey ON catalog.log USING btree (id)",
	"opened_pkey ON catalog.opened USING btree (one)",
	"product_keys_pkey ON catalog.product_keys USING btree (admin_id, idempotency_key)",
	"products_pkey ON catalog.products USING btree (id)",
	"products_sku ON catalog.products USING btree (sku) WHERE ((sku IS NOT NULL) AND (deleted_at IS NULL))",
	"purchases_pkey ON catalog.purchases USING btree (id)",
	"purchases_with_key ON catalog.purchases USING btree (user_id, idempotency_key) WHERE (idempotency_key IS NOT NULL)",
	"refunds_key ON catalog.refunds USING btree (purchase_id, idempotency_key)",
	"refunds_pkey ON catalog.refunds USING btree (id)",
	"schema_version_pkey ON catalog.schema_version USING btree (id)",
	"serving_pkey ON catalog.serving USING btree (one)",
	"stock_changes_key ON catalog.stock_changes USING btree (product_id, idempotency_key)",
	"stock_changes_pkey ON catalog.stock_changes USING btree (id)",
	"stock_changes_refund ON catalog.stock_changes USING btree (refund_id)",
	"stock_pkey ON catalog.stock USING btree (product_id)",
	"verifications_pkey ON catalog.verifications USING btree (id)",
}}
