-- +goose Up
GRANT SELECT ON catalog.schema_version TO catalog;

CREATE TABLE catalog.products (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title        text NOT NULL CHECK (char_length(title) BETWEEN 1 AND 200),
    -- The title in lower case, as the service folds it; compared byte by byte, so that the locale does not matter.
    title_folded text COLLATE "C" NOT NULL,
    description  text NOT NULL CHECK (char_length(description) <= 10000),
    price        bigint NOT NULL CHECK (price BETWEEN 1 AND 7000000000000000),
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    deleted_at   timestamptz
);

CREATE INDEX products_by_title ON catalog.products (title_folded, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_price ON catalog.products (price, id) WHERE deleted_at IS NULL;

GRANT SELECT, INSERT ON catalog.products TO catalog;
GRANT UPDATE (title, title_folded, description, price, version, updated_at, deleted_at) ON catalog.products TO catalog;
