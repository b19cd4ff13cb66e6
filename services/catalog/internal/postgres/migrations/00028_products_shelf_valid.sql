-- +goose Up

ALTER TABLE catalog.products VALIDATE CONSTRAINT products_status;
ALTER TABLE catalog.products VALIDATE CONSTRAINT products_shelf;
