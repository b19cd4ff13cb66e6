-- +goose Up

-- Products of the release before are active, and have none of the rest. Images are a JSON array of texts and attributes a JSON object of texts. They are
-- kept as text and not as jsonb, since Postgres knows the length of a text without reading it: pages of a list are cut by it.
ALTER TABLE catalog.products
    ADD COLUMN status     text NOT NULL DEFAULT 'active',
    ADD COLUMN sku        text COLLATE "C", -- null: none
    ADD COLUMN images     text NOT NULL DEFAULT '[]',
    ADD COLUMN attributes text NOT NULL DEFAULT '{}',
    ADD CONSTRAINT products_status CHECK (status IN ('draft', 'active', 'archived')) NOT VALID,
    ADD CONSTRAINT products_shelf CHECK (octet_length(sku) BETWEEN 1 AND 64 AND octet_length(images) <= 6000 AND octet_length(attributes) <= 40000) NOT VALID;

GRANT UPDATE (status, sku, images, attributes) ON catalog.products TO catalog;
