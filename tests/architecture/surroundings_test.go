package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// surrounding is what reads the environment, files in the home directory or the
// machine's defaults on its own. Only the folders listed may use it.
type surrounding struct {
	names   []string // path of the package, a dot, and a name; or * for all names
	within  []string // folders
	instead string
}

var surroundings = []surrounding{
	{[]string{
		"github.com/jackc/pgx/v5.Connect", "github.com/jackc/pgx/v5.ConnectWithOptions", "github.com/jackc/pgx/v5.ParseConfig", "github.com/jackc/pgx/v5.ParseConfigWithOptions",
		"github.com/jackc/pgx/v5/pgxpool.New", "github.com/jackc/pgx/v5/pgxpool.ParseConfig", "database/sql.Open",
		"github.com/jackc/pgx/v5/pgconn.Connect", "github.com/jackc/pgx/v5/pgconn.ConnectWithOptions", "github.com/jackc/pgx/v5/pgconn.ParseConfig", "github.com/jackc/pgx/v5/pgconn.ParseConfigWithOptions",
	}, []string{"libs/service/pgconfig"}, "PG* variables and files in the home directory would change what a URL means: use lavka/libs/service/pgconfig"},
	{[]string{
		"net/http.DefaultClient", "net/http.DefaultTransport", "net/http.ProxyFromEnvironment", "net/http.Get", "net/http.Head", "net/http.Post", "net/http.PostForm",
	}, []string{"libs/service/directhttp"}, "HTTP_PROXY would lead requests through a proxy: use lavka/libs/service/directhttp"},
	{[]string{
		"go.opentelemetry.io/contrib/exporters/autoexport.*", "go.opentelemetry.io/contrib/propagators/autoprop.*",
		"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp.*", "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc.*",
		"go.opentelemetry.io/otel/sdk/trace.NewTracerProvider", "go.opentelemetry.io/otel/sdk/resource.*",
	}, []string{"libs/service/telemetry"}, "OTEL_* variables that are not valid would have an effect, or end the start: use lavka/libs/service/telemetry"},
}

// withTransport are the types whose zero Transport is that of net/http's defaults.
var withTransport = []string{"net/http.Client", "net/http/httputil.ReverseProxy"}

func TestTheSurroundingsDoNotDecide(t *testing.T) {
	t.Parallel()
	read := 0
	eachGoFile(t, 0, func(name string, _ *token.FileSet, file *ast.File) {
		if strings.HasSuffix(name, "_test.go") { // tests talk to this machine, with passwords of their own
			return
		}
		read++
		for _, wrong := range surroundingsOf(file, filepath.Dir(name)) {
			t.Errorf("%s: %s (docs/adr/0062-the-surroundings-do-not-decide.md)", name, wrong)
		}
	})
	if read < 200 {
		t.Errorf("read only %d files", read)
	}
}

func TestTheRuleOfSurroundingsCanFail(t *testing.T) {
	t.Parallel()
	for code, allowed := range map[string]bool{
		`import "github.com/jackc/pgx/v5"; func f() { pgx.Connect(nil, "") }`:                                 false,
		`import p "github.com/jackc/pgx/v5/pgxpool"; func f() { p.ParseConfig("") }`:                          false,
		`import "github.com/jackc/pgx/v5"; func f(c *pgx.ConnConfig) { pgx.ConnectConfig(nil, c) }`:           true,
		`import "net/http"; func f() { http.DefaultClient.Do(nil) }`:                                          false,
		`import "net/http"; var get = http.Get`:                                                               false,
		`import "net/http"; var c = http.Client{Timeout: 1}`:                                                  false,
		`import "net/http"; var c = &http.Client{}`:                                                           false,
		`import "net/http"; var c http.Client`:                                                                false,
		`import "net/http"; var c = new(http.Client)`:                                                         false,
		`import "net/http"; var c *http.Client`:                                                               true,
		`import "net/http"; var c = &http.Client{Transport: t}`:                                               true,
		`import "net/http"; var t = &http.Transport{}`:                                                        true,
		`import "net/http/httputil"; var p = httputil.ReverseProxy{}`:                                         false,
		`import "go.opentelemetry.io/contrib/exporters/autoexport"; var n = autoexport.NewSpanExporter`:       false,
		`import "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"; var n = otlptracehttp.New`: false,
		`import sdktrace "go.opentelemetry.io/otel/sdk/trace"; func f() { sdktrace.NewTracerProvider() }`:     false,
	} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "", "package p; "+code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := surroundingsOf(parsed, "libs/service/other"); (len(wrong) == 0) != allowed {
			t.Errorf("%s: %v, allowed is %v", code, wrong, allowed)
		}
	}
}

// surroundingsOf returns what a file in a folder uses and must not.
func surroundingsOf(file *ast.File, folder string) (wrong []string) {
	imports := map[string]string{} // path by name
	for _, i := range file.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue // the parser refuses such a path
		}
		name := strings.TrimSuffix(path, "/v5")
		name = name[strings.LastIndex(name, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		imports[name] = path
	}
	named := func(e ast.Expr) string {
		s, ok := e.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		pkg, ok := s.X.(*ast.Ident)
		if !ok || imports[pkg.Name] == "" {
			return ""
		}
		return imports[pkg.Name] + "." + s.Sel.Name
	}
	zero := func(t ast.Expr) {
		if name := named(t); slices.Contains(withTransport, name) {
			wrong = append(wrong, name+" has no Transport: HTTP_PROXY would lead it through a proxy; use lavka/libs/service/directhttp")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			name := named(n)
			for _, s := range surroundings {
				any := name[:strings.LastIndex(name, ".")+1] + "*"
				if name != "" && (slices.Contains(s.names, name) || slices.Contains(s.names, any)) && !slices.Contains(s.within, folder) {
					wrong = append(wrong, name+": "+s.instead)
				}
			}
		case *ast.CompositeLit:
			if !slices.ContainsFunc(n.Elts, func(e ast.Expr) bool {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok {
					return false
				}
				key, ok := kv.Key.(*ast.Ident)
				return ok && key.Name == "Transport"
			}) {
				zero(n.Type)
			}
		case *ast.ValueSpec:
			zero(n.Type)
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "new" && len(n.Args) == 1 {
				zero(n.Args[0])
			}
		}
		return true
	})
	return wrong
}
