-- +goose Up

-- Reads the table, and holds up no one who writes it.
ALTER TABLE catalog.purchases VALIDATE CONSTRAINT purchases_quantity;
ALTER TABLE catalog.purchases VALIDATE CONSTRAINT purchases_stock;
