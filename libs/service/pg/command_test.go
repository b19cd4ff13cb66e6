package pg

import (
	"context"
	"net"
	"strconv"
	"testing"
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
				if c, err := l.Accept(); err == nil {
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
