// Browser opens a page of another origin in a real browser, and has it use the shop:
//
//	go run ./browser [-screenshot page.png]
//
// The page registers, logs in, lists products and buys with an Idempotency-Key, and reads headers and the codes of refusals. The same page of an origin that is
// not in CORS_ORIGINS can read nothing. Headless Chromium comes with Debian (make browser installs it).
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
	"lavka/libs/service/cors"
	"lavka/libs/service/directhttp"
)

// patience is how long the browser may take for a page.
const patience = 2 * time.Minute

func main() {
	root := flag.String("root", "..", "path of the repository")
	screenshot := flag.String("screenshot", "", "where to write a picture of the page")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *root, *screenshot); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, screenshot string) (err error) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		return fmt.Errorf("find chromium: %w; make browser installs it", err)
	}
	dir, err := os.MkdirTemp("", "lavka-browser-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	front, err := serve()
	if err != nil {
		return err
	}
	defer front.server.Close()
	stranger, err := serve()
	if err != nil {
		return err
	}
	defer stranger.server.Close()
	bin := filepath.Join(dir, "bin")
	if err := stack.Build(ctx, root, bin, false); err != nil {
		return err
	}
	shop, err := stack.Start(ctx, stack.Config{BinDir: bin, DataDir: filepath.Join(dir, "data"), Volatile: true, CORSOrigins: cors.Origins{front.origin}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.Stop()) }()
	product, err := sell(ctx, shop)
	if err != nil {
		return err
	}
	b := browser{chromium: chromium, dir: dir}
	for _, p := range []struct {
		who  string
		page *page
		want string
	}{{"an origin that is not listed", stranger, "nothing could be read"}, {"a listed origin", front, "everything was as expected"}} {
		p.page.shop, p.page.product = shop, product
		began := time.Now()
		result, err := b.open(ctx, p.page, screenshot)
		if err != nil {
			return fmt.Errorf("a page of %s: %w", p.who, err)
		}
		fmt.Printf("--- a page of %s (%v)\n%s\n", p.who, time.Since(began).Round(time.Millisecond), strings.Join(result.Steps, "\n"))
		if result.Outcome != p.want {
			return fmt.Errorf("a page of %s: %s, want: %s", p.who, result.Outcome, p.want)
		}
	}
	return nil
}

// sell puts a product on sale, and returns its id.
func sell(ctx context.Context, shop *stack.Stack) (int64, error) {
	var login struct {
		AccessToken string `json:"access_token"`
	}
	if err := post(ctx, shop.GatewayURL()+"/auth/login", "", map[string]string{"login": shop.AdminLogin, "password": shop.AdminPassword}, &login); err != nil {
		return 0, err
	}
	var product struct{ ID int64 }
	err := post(ctx, shop.GatewayURL()+"/products", login.AccessToken, map[string]any{"title": "Samovar", "description": "Brass", "price": 60}, &product)
	return product.ID, err
}

func post(ctx context.Context, url, token string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := directhttp.Client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("POST %s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// page is a server of the page, at an origin of its own. It does for the page what a front end can't: it tops up a bill as the payment provider does, and stops
// a service.
type page struct {
	origin  string
	server  *http.Server
	shop    *stack.Stack
	product int64
	done    chan result
	over    chan struct{} // closed when the page is done
}

// result is what the page reports.
type result struct {
	Outcome string
	Steps   []string
}

//go:embed page.html
var html string

func serve() (*page, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &page{origin: "http://" + l.Addr().String(), done: make(chan result, 1), over: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, strings.NewReplacer("{{shop}}", p.shop.GatewayURL(), "{{product}}", fmt.Sprint(p.product)).Replace(html))
	})
	mux.HandleFunc("POST /topup", func(w http.ResponseWriter, r *http.Request) {
		var top struct{ User, Bill int64 }
		var credited struct{ Status string }
		err := json.NewDecoder(r.Body).Decode(&top)
		if err == nil {
			err = post(r.Context(), p.shop.GatewayURL()+"/payment/webhook", "", json.RawMessage(payment.Signed(p.shop.PaymentKeys[0], 1, top.User, top.Bill, 100)), &credited)
		}
		report(w, err)
	})
	mux.HandleFunc("POST /stop-catalog", func(w http.ResponseWriter, _ *http.Request) { report(w, p.shop.Replicas(stack.Catalog)[0].Stop()) })
	mux.HandleFunc("POST /done", func(w http.ResponseWriter, r *http.Request) {
		var got result
		err := json.NewDecoder(r.Body).Decode(&got)
		if err == nil {
			p.done <- got
			close(p.over)
		}
		report(w, err)
	})
	// A picture of the page: the browser takes its own, and leaves, when this one has come.
	mux.HandleFunc("GET /over", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-p.over:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusNoContent)
	})
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = p.server.Serve(l) }() // ends with Close
	return p, nil
}

func report(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// browser is headless Chromium with an empty profile.
type browser struct{ chromium, dir string }

// open opens a page, writes a picture of it when it is done, and returns what it reports.
func (b browser) open(ctx context.Context, p *page, screenshot string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := []string{"--headless=new", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking", "--user-data-dir=" + filepath.Join(b.dir, "profile"), "--window-size=900,900"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // which does not work for root
	}
	if screenshot == "" {
		screenshot = filepath.Join(b.dir, "page.png")
	}
	args = append(args, "--screenshot="+screenshot)
	cmd := exec.CommandContext(ctx, b.chromium, append(args, p.origin+"/")...)
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.CombinedOutput()
	select {
	case got := <-p.done:
		return got, nil
	default:
		return result{}, fmt.Errorf("the browser ended before the page was done: %w\n%.3000s", errors.Join(err, ctx.Err(), errors.New("no result")), output)
	}
}
