package postgres

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lavka/libs/testkit/pgtest"
)

func TestMain(m *testing.M) {
	pgtest.Main(m, pgtest.Config{Setup: func(ctx context.Context, adminURL string) error {
		if err := Apply(ctx, adminURL); err != nil {
			return err
		}
		for _, service := range Services() {
			for _, role := range []string{service, Owner(service)} {
				if _, err := pgtest.RoleURL(ctx, adminURL, role); err != nil {
					return err
				}
			}
		}
		return nil
	}})
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func refused(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "42501" {
		t.Errorf("%s: not refused: %v", sql, err)
	}
}

func TestApplyAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	exec(t, pgtest.Connect(t, db.URL("billing_owner")), `CREATE TABLE billing.bills (id bigint); GRANT SELECT ON billing.bills TO billing`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			// Two runs at once can conflict on the same catalog row; the loser retries.
			for {
				err := Apply(t.Context(), db.AdminURL())
				if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "XX000" {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	exec(t, pgtest.Connect(t, db.URL("billing")), `SELECT * FROM billing.bills`)
}

func TestNoServiceReachesAnothersSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, service := range Services() {
		owner := pgtest.Connect(t, db.URL(Owner(service)))
		exec(t, owner, `CREATE TABLE `+service+`.things (id bigint)`)
		// Even a careless GRANT by an owner gives others no access: they lack USAGE on the schema.
		exec(t, owner, `GRANT ALL ON `+service+`.things TO PUBLIC`)
	}
	for _, service := range Services() {
		for _, role := range []string{service, Owner(service)} {
			conn := pgtest.Connect(t, db.URL(role))
			exec(t, conn, `SELECT * FROM `+service+`.things`)
			for _, other := range Services() {
				if other != service {
					refused(t, conn, `SELECT * FROM `+other+`.things`)
					refused(t, conn, `INSERT INTO `+other+`.things VALUES (1)`)
					refused(t, conn, `CREATE TABLE `+other+`.mine (id bigint)`)
					refused(t, conn, `SET ROLE `+other)
					refused(t, conn, `SET ROLE `+Owner(other))
				}
			}
			refused(t, conn, `CREATE TABLE public.mine (id bigint)`)
			refused(t, conn, `CREATE SCHEMA mine`)
			refused(t, conn, `CREATE TEMPORARY TABLE mine (id bigint)`)
			refused(t, conn, `CREATE ROLE mine`)
			refused(t, conn, `CREATE DATABASE mine`)
		}
		conn := pgtest.Connect(t, db.URL(service))
		refused(t, conn, `CREATE TABLE `+service+`.mine (id bigint)`)
		refused(t, conn, `DROP SCHEMA `+service+` CASCADE`)
		refused(t, conn, `SET ROLE `+Owner(service))
	}
}

func TestUnknownRolesCannotConnect(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	stranger := "stranger_of_" + db.Name // roles belong to the whole server
	exec(t, pgtest.Connect(t, db.AdminURL()), `CREATE ROLE `+stranger+` LOGIN`)
	url, err := pgtest.RoleURL(t.Context(), db.AdminURL(), stranger)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pgx.Connect(t.Context(), url)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "42501" {
		t.Errorf("an unknown role: %v", err)
	}
}

// Managed servers have no superuser.
func TestAdministratorWithoutSuperuser(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	landlord, rented := "landlord_of_"+db.Name, "rented_"+db.Name
	exec(t, admin, `CREATE ROLE `+landlord+` LOGIN CREATEROLE`)
	exec(t, admin, `CREATE DATABASE `+rented+` OWNER `+landlord)
	t.Cleanup(func() {
		if _, err := admin.Exec(context.WithoutCancel(t.Context()), `DROP DATABASE `+rented+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	landlordURL, err := pgtest.RoleURL(t.Context(), db.AdminURL(), landlord)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(landlordURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + rented
	for range 2 {
		if err := Apply(t.Context(), u.String()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	admin := pgtest.Connect(t, db.AdminURL())
	guard := "guard_of_" + db.Name
	exec(t, admin, `CREATE ROLE `+guard+` LOGIN; GRANT CONNECT ON DATABASE `+db.Name+` TO `+guard)
	for _, password := range []string{"first one", "second"} {
		if err := SetPassword(t.Context(), admin, guard, password); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(db.AdminURL())
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(guard, password)
		pgtest.Connect(t, u.String())
		u.User = url.UserPassword(guard, password+"x")
		if _, err := pgx.Connect(t.Context(), u.String()); err == nil {
			t.Error("a wrong password was accepted")
		}
	}
}
