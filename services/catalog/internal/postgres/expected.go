package postgres

import "lavka/libs/service/schemacheck"

// Expected is what catalog's rules rest on: that a purchase is there once, and once
// for each key.
var Expected = schemacheck.Expected{Schema: Schema, Guards: []string{
	"lineage_pkey ON catalog.lineage USING btree (one)",
	"log_pkey ON catalog.log USING btree (id)",
	"opened_pkey ON catalog.opened USING btree (one)",
	"products_pkey ON catalog.products USING btree (id)",
	"purchases_pkey ON catalog.purchases USING btree (id)",
	"purchases_with_key ON catalog.purchases USING btree (user_id, idempotency_key) WHERE (idempotency_key IS NOT NULL)",
	"schema_version_pkey ON catalog.schema_version USING btree (id)",
	"serving_pkey ON catalog.serving USING btree (one)",
}}
