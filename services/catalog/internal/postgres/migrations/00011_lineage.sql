-- +goose Up

-- Where the schema was last served from (libs/service/lineage). verify compares it with where it is now.
CREATE TABLE catalog.lineage (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL, -- of the server
    timeline          bigint NOT NULL, -- of its WAL
    relation          oid    NOT NULL, -- this table: a dump that is restored creates another one
    beat              bigint NOT NULL DEFAULT 0 -- rises while the schema is served
);
INSERT INTO catalog.lineage (system_identifier, timeline, relation)
SELECT (SELECT system_identifier FROM pg_control_system()), ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint, 'catalog.lineage'::regclass;
GRANT SELECT, UPDATE (timeline, beat) ON catalog.lineage TO catalog;
-- verify compares each sequence with the highest id.
GRANT SELECT ON ALL SEQUENCES IN SCHEMA catalog TO catalog;
