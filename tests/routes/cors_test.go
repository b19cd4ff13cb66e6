package routes

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"lavka/libs/service/cors"
)

// Compose's gateway writes the same headers for pages as the services do.
func TestCaddyWritesTheSameHeadersForPages(t *testing.T) {
	t.Parallel()
	const page = "https://front.example"
	text, err := os.ReadFile("../../deploy/gateway/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodOptions, "/products", nil)
	r.Header.Set("Origin", page)
	r.Header.Set("Access-Control-Request-Method", "GET")
	w := httptest.NewRecorder()
	if !(cors.Origins{page}).Preflight(w, r) {
		t.Fatal("it is no preflight")
	}
	written := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\s+header (?:@\w+ )?((?:Access-Control-(?:Allow|Expose|Max)|Vary)\S*) (.+)$`).FindAllStringSubmatch(string(text), -1) {
		written[m[1]] = strings.Trim(m[2], `"`)
	}
	written["Access-Control-Allow-Origin"] = strings.Replace(written["Access-Control-Allow-Origin"], "{http.request.header.Origin}", page, 1)
	for name, values := range w.Header() {
		if written[name] != strings.Join(values, " and ") {
			t.Errorf("Caddy writes %s: %q, the services write %q", name, written[name], values)
		}
		delete(written, name)
	}
	if len(written) > 0 {
		t.Errorf("Caddy also writes %v", written)
	}
}
