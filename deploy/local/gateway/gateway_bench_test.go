package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkGateway sends small requests over 32 connections, directly to a service that costs next to nothing, and
// through the gateway. The difference in CPU time is what the gateway costs a request.
func BenchmarkGateway(b *testing.B) {
	replica := Replica{cheap(b), cheap(b)}
	g := New(Config{Replicas: map[string][]Replica{"auth": {replica}, "catalog": {replica}, "billing": {replica}}, MaxConnections: 1000, Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	defer func() {
		if err := g.Close(); err != nil {
			b.Error(err)
		}
		<-done
	}()
	if err := g.Await(b.Context(), []string{"catalog"}); err != nil {
		b.Fatal(err)
	}
	body := `{"product_id":1,"bill_id":7}`
	headers := "Host: shop.example\r\nAuthorization: Bearer " + strings.Repeat("x", 300) + "\r\nAccept: application/json\r\nUser-Agent: bench\r\n"
	for name, request := range map[string]string{
		"GET":  "GET /products/1 HTTP/1.1\r\n" + headers + "\r\n",
		"POST": "POST /purchases HTTP/1.1\r\n" + headers + fmt.Sprintf("Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
	} {
		for _, way := range []struct{ name, addr string }{{"direct", replica.Addr}, {"gateway", l.Addr().String()}} {
			b.Run(name+"/"+way.name, func(b *testing.B) { flood(b, way.addr, request) })
		}
	}
}

// cheap starts a service that answers every request at once, and returns its address.
func cheap(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	text := `{"id":1,"title":"Samovar","description":"Brass, three litres","price":59.90,"status":"active","version":3}`
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nEtag: \"3\"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 16<<10)
				for {
					n, err := conn.Read(buffer)
					for end := []byte("\r\n\r\n"); err == nil && !bytes.Contains(buffer[:n], end); {
						var more int
						more, err = conn.Read(buffer[n:])
						n += more
					}
					if err != nil {
						return
					}
					if head, rest, _ := bytes.Cut(buffer[:n], []byte("\r\n\r\n")); bytes.HasPrefix(head, []byte("POST")) && len(rest) == 0 {
						if _, err := conn.Read(buffer); err != nil {
							return
						}
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func flood(b *testing.B, addr, request string) {
	const connections = 32
	conns := make([]net.Conn, connections)
	var size int
	for i := range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp, err)
		}
		size = int(resp.ContentLength)
		for name, values := range resp.Header {
			size += len(name) + len(": \r\n") + len(values[0])
		}
		size += len("HTTP/1.1 200 OK\r\n") + len("\r\n")
		if _, ok := resp.Header["Content-Length"]; !ok {
			size += len(fmt.Sprintf("Content-Length: %d\r\n", resp.ContentLength))
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		conns[i] = conn
	}
	began, used := time.Now(), cpu()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, conn := range conns {
		n := b.N / connections
		if i < b.N%connections {
			n++
		}
		all.Go(func() {
			answer := make([]byte, size)
			for range n {
				if _, err := io.WriteString(conn, request); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(conn, answer); err != nil {
					b.Error(err)
					return
				}
				if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) || answer[size-1] != '}' {
					b.Errorf("%q", answer)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((cpu()-used).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "op/s")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
