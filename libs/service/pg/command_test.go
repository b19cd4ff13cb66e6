package pg

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"lavka/libs/host/freeport"
)

func TestACommandWaitsForAServerThatRefuses(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(ctx context.Context, url string) error{
		"a pool": func(ctx context.Context, url string) error {
			pool, err := OpenForCommand(ctx, url, "test")
			if err == nil {
				pool.Close()
			}
			return err
		},
		"the owner's session": func(ctx context.Context, url string) error {
			if conn, err := ConnectOwner(ctx, url, "test", 0); err == nil {
				return conn.Close(ctx)
			}
			return nil // the server is no Postgres
		},
		"a migration": func(ctx context.Context, url string) error {
			steps := fstest.MapFS{folder + "/00001_nothing.sql": {Data: []byte("-- +goose Up\nSELECT 1;\n")}}
			if err := Migrate(ctx, url, "test", steps, slog.New(slog.DiscardHandler)); errors.Is(err, syscall.ECONNREFUSED) {
				return err
			}
			return nil // the server is no Postgres
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, err := freeport.Take()
			if err != nil {
				t.Fatal(err)
			}
			address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			listens := make(chan net.Listener, 1)
			time.AfterFunc(300*time.Millisecond, func() {
				l, err := net.Listen("tcp", address)
				if err != nil {
					t.Error(err)
					close(listens)
					return
				}
				listens <- l
				for {
					c, err := l.Accept()
					if err != nil {
						return // the test has closed it
					}
					c.Close() // it is no Postgres, but it does not refuse
				}
			})
			began := time.Now()
			if err := open(t.Context(), "postgres://a:b@"+address+"/c?sslmode=disable"); err != nil {
				t.Fatal(err)
			}
			select {
			case l, listening := <-listens:
				if listening {
					l.Close()
				}
			default:
				t.Error("it did not wait")
			}
			if took := time.Since(began); took > commandPatience {
				t.Errorf("it took %v", took)
			}
		})
	}
}
