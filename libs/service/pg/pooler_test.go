package pg_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgproto3"

	"lavka/libs/service/pg"
	"lavka/libs/testkit/pgtest"
	"lavka/libs/testkit/tcprelay"
)

// pooled returns the URL of a database behind what PgBouncer does to a session's
// settings: it either drops them (those in ignore_startup_parameters), or refuses the
// session.
func pooled(t *testing.T, rawURL string, refuse bool) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := tcprelay.New(u.Host, func(pair *tcprelay.Pair) {
		if err := withoutSettings(pair, refuse); err != nil {
			pair.Reset()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Close(); err != nil {
			t.Error(err)
		}
	})
	through, err := relay.Through(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return through
}

func withoutSettings(pair *tcprelay.Pair, refuse bool) error {
	client := pgproto3.NewBackend(pair.Client, pair.Client)
	message, err := client.ReceiveStartupMessage()
	if err != nil {
		return err
	}
	startup, ok := message.(*pgproto3.StartupMessage)
	if !ok {
		return fmt.Errorf("a connection that begins with %T", message)
	}
	for name := range startup.Parameters {
		if name == "user" || name == "database" {
			continue
		}
		if refuse {
			client.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: " + name})
			return client.Flush()
		}
		delete(startup.Parameters, name)
	}
	server, err := pair.Dial()
	if err != nil {
		return err
	}
	begin, err := startup.Encode(nil)
	if err != nil {
		return err
	}
	if _, err := server.Write(begin); err != nil {
		return err
	}
	var both sync.WaitGroup
	var up, down error
	both.Go(func() { _, up = io.Copy(server, pair.Client); up = errors.Join(up, server.CloseWrite()) })
	both.Go(func() { _, down = io.Copy(pair.Client, server); down = errors.Join(down, pair.Client.CloseWrite()) })
	both.Wait()
	return errors.Join(up, down)
}

// Behind a pooler, a service and a migration end with an error that names the reason.
func TestAPoolerIsRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]bool{"drops settings": false, "refuses settings": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			through := pooled(t, pgtest.New(t).AdminURL(), refuse)
			probe, err := pg.NewProbe(through, "test", "shelf", fstest.MapFS{})
			if err != nil {
				t.Fatal(err)
			}
			refused(t, probe.Pooled(t.Context()), "DATABASE_URL: it leads to a connection pooler")
			refused(t, probe.Ready(t.Context()), "DATABASE_URL: it leads to a connection pooler")
			err = pg.Migrate(t.Context(), through, "shelf", fstest.MapFS{"migrations/00001_a.sql": {Data: []byte("-- +goose Up\nSELECT 1;")}}, slog.New(slog.DiscardHandler))
			refused(t, err, "MIGRATE_DATABASE_URL: it leads to a connection pooler")
		})
	}
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, pg.ErrPooler) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "postgres://") {
		t.Errorf("%v", err)
	}
}
