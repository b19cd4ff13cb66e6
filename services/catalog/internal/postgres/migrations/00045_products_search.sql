-- +goose Up

-- What titles are searched by, made by the service (catalog.Searchable, catalog.Grams): the folded title, and its parts of one
-- to three characters. NULL: not made yet; a worker does it. The release before changes titles without them, and the trigger
-- then empties them. Where the grams stay the same, as with another case, it empties them too.
ALTER TABLE catalog.products
    ADD COLUMN search_title text COLLATE "C",
    ADD COLUMN search_grams text[];

-- +goose StatementBegin
CREATE FUNCTION catalog.empty_search() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search_title := NULL;
    NEW.search_grams := NULL;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER empty_search BEFORE UPDATE OF title ON catalog.products FOR EACH ROW
    WHEN (NEW.title IS DISTINCT FROM OLD.title AND NEW.search_grams IS NOT DISTINCT FROM OLD.search_grams)
    EXECUTE FUNCTION catalog.empty_search();

GRANT UPDATE (search_title, search_grams) ON catalog.products TO catalog;
