package postgres

import (
	"context"

	"lavka/libs/service/lineage"
	"lavka/libs/service/pg"
)

// Restored is what makes a restored schema safe to serve. Its ids go on higher. Every
// user gets a version above all that were published after the backup, so that it wins
// over what NATS and billing may still have; a token version above those of all
// tokens, also of those that were signed after the backup; and no session and no link
// to reset the password. Each is
// published at once, and counts as changed, so that a replica that starts learns of
// it from the database (see TokenVersions).
var Restored = lineage.Restored{Schema: Schema, Migrations: Migrations, Change: func(ctx context.Context, q pg.Querier, jump lineage.Jump) error {
	_, err := q.Exec(ctx, `
		UPDATE auth.users
		SET version = version + $1, token_version = token_version + $1, `+sessionsEnded+`,
			changed_at = clock_timestamp(), publish_at = now(), trace_context = ''`, jump.Versions)
	if err != nil {
		return pg.Wrap("raise the versions of users", err)
	}
	if _, err := q.Exec(ctx, `DELETE FROM auth.password_resets`); err != nil {
		return pg.Wrap("delete links to reset passwords", err)
	}
	_, err = q.Exec(ctx, `UPDATE auth.sessions SET ended_at = now() WHERE ended_at IS NULL`)
	return pg.Wrap("end all sessions", err)
}}
