package postgres

import "lavka/libs/service/schemacheck"

// Expected is what auth's rules rest on: that a login is one user's, and a token one
// session's.
var Expected = schemacheck.Expected{Schema: Schema, Guards: []string{
	"activations_pkey ON auth.activations USING btree (token_hash)",
	"lineage_pkey ON auth.lineage USING btree (one)",
	"links_pkey ON auth.links USING btree (user_id, event)",
	"log_pkey ON auth.log USING btree (id)",
	"opened_pkey ON auth.opened USING btree (one)",
	"password_resets_pkey ON auth.password_resets USING btree (token_hash)",
	"refresh_tokens_pkey ON auth.refresh_tokens USING btree (token_hash)",
	"reset_requests_pkey ON auth.reset_requests USING btree (id)",
	"schema_version_pkey ON auth.schema_version USING btree (id)",
	"serving_pkey ON auth.serving USING btree (one)",
	"sessions_pkey ON auth.sessions USING btree (id)",
	"sessions_to_end_pkey ON auth.sessions_to_end USING btree (user_id)",
	`users_login ON auth.users USING btree (lower((login COLLATE "C")))`,
	"users_pkey ON auth.users USING btree (id)",
	"users_stream_pkey ON auth.users_stream USING btree (one)",
	"verifications_pkey ON auth.verifications USING btree (id)",
}}
