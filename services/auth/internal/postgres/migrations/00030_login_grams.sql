-- +goose Up

-- All parts of three characters of a login, which searches look up. An index of them must not depend on how the server sorts.
CREATE FUNCTION auth.login_grams(login text) RETURNS text[] IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(SELECT DISTINCT substr(lower(login COLLATE "C"), n, 3) FROM generate_series(1, length(login) - 2) n);
