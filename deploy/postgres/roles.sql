-- Creates the roles and schemas of the shop in the current database. Run it as an administrator: a superuser, or the database's owner with
-- CREATEROLE. It is idempotent. Each service has two roles, which have no password until one is set:
--   <service>_owner  owns the schema and migrates it;
--   <service>        uses it, with the rights that the migrations grant.
-- No role can read or write another service's schema, and other roles can't even connect.

-- Roles belong to the whole server, so concurrent runs on two of its databases can conflict here.
DO $$
DECLARE
    service text;
    role    text;
BEGIN
    FOREACH service IN ARRAY ARRAY['auth', 'catalog', 'billing'] LOOP
        FOREACH role IN ARRAY ARRAY[service || '_owner', service] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                BEGIN
                    EXECUTE format('CREATE ROLE %I', role);
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    NULL; -- a concurrent run created it
                END;
            END IF;
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = role AND (NOT rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)) THEN
                EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
            END IF;
        END LOOP;

        -- Only a member of a role can give it ownership; a superuser counts as a member.
        IF NOT pg_has_role(service || '_owner', 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', service || '_owner');
        END IF;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service, service || '_owner');
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', service, service || '_owner');
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', service, service);

        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I, %I', current_database(), service, service || '_owner');
    END LOOP;

    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;

    -- A REVOKE without the right to do so is only a warning.
    IF has_database_privilege('public', current_database(), 'CONNECT') OR has_schema_privilege('public', 'public', 'USAGE') THEN
        RAISE EXCEPTION 'the rights of PUBLIC could not be revoked: run this as a superuser or as the owner of database %', current_database();
    END IF;
END
$$;
