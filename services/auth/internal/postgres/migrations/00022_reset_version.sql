-- +goose Up

-- A link to reset the password is void once the user has another version. It increases with each new password and role, and when the
-- user is disabled, whatever release makes the change.
ALTER TABLE auth.users ADD COLUMN reset_version bigint NOT NULL DEFAULT 1;

-- +goose StatementBegin
CREATE FUNCTION auth.void_resets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.reset_version := OLD.reset_version + 1;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER users_void_resets BEFORE UPDATE OF password_hash, role, disabled_at ON auth.users
    FOR EACH ROW WHEN (OLD.password_hash <> NEW.password_hash OR OLD.role <> NEW.role OR (OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL))
    EXECUTE FUNCTION auth.void_resets();
