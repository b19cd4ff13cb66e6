// Browser opens a page of another origin in a real browser, and has it use the shop:
//
//	go run ./browser [-screenshot page.png]
//	go run ./browser -url http://127.0.0.1:8080 -listen 127.0.0.1:9999 -stop 'docker compose stop catalog'
//
// The second uses a running shop, in whose CORS_ORIGINS the page's origin is (http://127.0.0.1:9999), with its ADMIN_PASSWORD and PAYMENT_PRIVATE_KEYS (or …_FILE) in the
// environment; -stop stops catalog. The first starts a shop of its own.
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
	"lavka/libs/service/config"
	"lavka/libs/service/cors"
	"lavka/libs/service/directhttp"
)

// patience is how long the browser may take for a page.
const patience = 2 * time.Minute

func main() {
	root := flag.String("root", "..", "path of the repository")
	screenshot := flag.String("screenshot", "", "where to write a picture of the page")
	url := flag.String("url", "", "a running shop")
	listen := flag.String("listen", "127.0.0.1:0", "address of the page")
	stopCatalog := flag.String("stop", "", "command that stops catalog of the running shop")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *root, *screenshot, *listen, *url, *stopCatalog); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, screenshot, listen, url, stopCatalog string) (err error) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		return fmt.Errorf("find chromium: %w; make browser installs it", err)
	}
	dir, err := os.MkdirTemp("", "lavka-browser-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	front, err := serve(listen)
	if err != nil {
		return err
	}
	defer front.server.Close()
	stranger, err := serve("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer stranger.server.Close()
	var use shop
	if url != "" {
		use, err = running(ctx, url, stopCatalog)
	} else {
		var stop func() error
		use, stop, err = start(ctx, root, dir, front.origin)
		defer func() { err = errors.Join(err, stop()) }()
	}
	if err != nil {
		return err
	}
	product, err := sell(ctx, use)
	if err != nil {
		return err
	}
	b := browser{chromium: chromium, dir: dir}
	for _, p := range []struct {
		who  string
		page *page
		want string
	}{{"an origin that is not listed", stranger, "nothing could be read"}, {"a listed origin", front, "everything was as expected"}} {
		p.page.shop, p.page.product = use, product
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

// shop is what the page and the test know of the shop.
type shop struct {
	url, login, password, paymentKey string
	stopCatalog                      func() error
}

// start starts a shop whose responses pages of an origin can read. stop ends it, also after an error.
func start(ctx context.Context, root, dir, origin string) (s shop, stop func() error, err error) {
	none := func() error { return nil }
	bin := filepath.Join(dir, "bin")
	if err := stack.Build(ctx, root, bin, false); err != nil {
		return s, none, err
	}
	own, err := stack.Start(ctx, stack.Config{BinDir: bin, DataDir: filepath.Join(dir, "data"), Volatile: true, CORSOrigins: cors.Origins{origin}})
	if err != nil {
		return s, none, err
	}
	return shop{own.GatewayURL(), own.AdminLogin, own.AdminPassword, own.PaymentKeys[0], own.Replicas(stack.Catalog)[0].Stop}, own.Stop, nil
}

// running returns the shop at a URL, with the secrets of the environment.
func running(ctx context.Context, url, stopCatalog string) (s shop, err error) {
	var secrets struct {
		Login    string        `envconfig:"ADMIN_LOGIN" default:"admin"`
		Password config.Secret `envconfig:"ADMIN_PASSWORD"`
		Keys     config.Secret `envconfig:"PAYMENT_PRIVATE_KEYS"`
	}
	if err := config.Load(&secrets); err != nil {
		return s, err
	}
	if secrets.Password.Empty() || secrets.Keys.Empty() {
		return s, errors.New("set ADMIN_PASSWORD and PAYMENT_PRIVATE_KEYS to those of the shop, or ADMIN_PASSWORD_FILE and PAYMENT_PRIVATE_KEYS_FILE to files that have them")
	}
	key, _, _ := strings.Cut(strings.TrimSpace(secrets.Keys.Reveal()), ",")
	return shop{url, secrets.Login, secrets.Password.Reveal(), key, func() error {
		out, err := exec.CommandContext(ctx, "sh", "-c", stopCatalog).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", stopCatalog, err, out)
		}
		return nil
	}}, nil
}

// sell puts a product on sale, and returns its id.
func sell(ctx context.Context, s shop) (int64, error) {
	var login struct {
		AccessToken string `json:"access_token"`
	}
	if err := post(ctx, s.url+"/auth/login", "", map[string]string{"login": s.login, "password": s.password}, &login); err != nil {
		return 0, err
	}
	var product struct{ ID int64 }
	err := post(ctx, s.url+"/products", login.AccessToken, map[string]any{"title": "Samovar", "description": "Brass", "price": 60}, &product)
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
	shop    shop
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

func serve(address string) (*page, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &page{origin: "http://" + l.Addr().String(), done: make(chan result, 1), over: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, strings.NewReplacer("{{shop}}", p.shop.url, "{{product}}", fmt.Sprint(p.product)).Replace(html))
	})
	mux.HandleFunc("POST /topup", func(w http.ResponseWriter, r *http.Request) {
		var top struct{ User, Bill int64 }
		var credited struct{ Status string }
		err := json.NewDecoder(r.Body).Decode(&top)
		if err == nil {
			err = post(r.Context(), p.shop.url+"/payment/webhook", "", json.RawMessage(payment.Signed(p.shop.paymentKey, time.Now().UnixMilli(), top.User, top.Bill, 100)), &credited)
		}
		report(w, err)
	})
	mux.HandleFunc("POST /stop-catalog", func(w http.ResponseWriter, _ *http.Request) { report(w, p.shop.stopCatalog()) })
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
