-- +goose Up

-- A purchase of several units. price stays the whole amount that billing is asked to charge: the sweeper of the release before
-- sends it. Null in each column is a purchase of one unit that took nothing of a limited stock, as the release before writes it.
-- stock_limit is the row of stock_changes that set the limit from which stock_taken was taken.
ALTER TABLE catalog.purchases
    ADD COLUMN unit_price  bigint,
    ADD COLUMN quantity    integer,
    ADD COLUMN stock_taken integer,
    ADD COLUMN stock_limit bigint,
    ADD CONSTRAINT purchases_quantity CHECK (
        CASE WHEN quantity IS NULL THEN unit_price IS NULL
        ELSE quantity BETWEEN 2 AND 1000 AND unit_price > 0 AND price = unit_price * quantity END) NOT VALID,
    ADD CONSTRAINT purchases_stock CHECK (
        CASE WHEN stock_taken IS NULL THEN stock_limit IS NULL
        ELSE stock_taken = coalesce(quantity, 1) AND stock_limit IS NOT NULL END) NOT VALID;
