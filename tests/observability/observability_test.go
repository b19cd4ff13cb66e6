package observability

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// small is a shop with a few metrics.
func small(t *testing.T) *Exposed {
	t.Helper()
	e := NewExposed()
	err := e.Scraped(strings.NewReader(`# TYPE logins_total counter
logins_total{outcome="ok"} 1
logins_total{outcome="wrong"} 0
# TYPE wait_seconds histogram
wait_seconds_bucket{kind="a",le="0.5"} 1
wait_seconds_bucket{kind="a",le="+Inf"} 1
wait_seconds_sum{kind="a"} 1
wait_seconds_count{kind="a"} 1
# TYPE queue gauge
queue 3
# TYPE go_goroutines gauge
go_goroutines 9
`))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Recorded("job:wrong:rate5m", `1 - sum by (job) (rate(logins_total{outcome="wrong"}[5m])) / sum by (job) (rate(logins_total[5m]))`); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestMissingMetricsAreFound(t *testing.T) {
	t.Parallel()
	e := small(t)
	for query, want := range map[string]string{
		`sum by (job, outcome) (rate(logins_total{outcome=~"ok|wrong", job="auth"}[$__rate_interval])) > 0 or vector(0)`: "",
		`histogram_quantile(0.9, sum by (kind, le) (rate(wait_seconds_bucket{le!="x"}[5m])))`:                            "",
		`sum(rate(wait_seconds_count[5m]) - ignoring (le) rate(wait_seconds_bucket{le="0.5"}[5m]))`:                      "",
		`job:wrong:rate5m > 0.1 and on (job) up{job="auth"} == 0`:                                                        "",
		`max_over_time(max(queue)[10m:1m]) > 0`:                                                                          "",
		`min by (name, namespace) (certmanager_certificate_expiration_timestamp_seconds) - time()`:                       "",
		`rate(logins_total{outcome=~"o.*"}[5m])`:                                                                         "",

		`sum(rate(logouts_total[5m]))`:                    `there is no metric "logouts_total"`,
		`queue > 1 or max_over_time(max(queues)[10m:1m])`: `there is no metric "queues"`,
		`wait_seconds`:                               `there is no metric "wait_seconds"`,
		`logins_total_bucket`:                        `there is no metric "logins_total_bucket"`,
		`absent(up{job="auth"}) or absent(ups)`:      `there is no metric "ups"`,
		`job:right:rate5m`:                           `there is no metric "job:right:rate5m"`,
		`logins_total{result="ok"}`:                  `logins_total has no label "result"`,
		`logins_total{result!="ok"}`:                 `logins_total has no label "result"`,
		`logins_total{outcome="okay"}`:               `logins_total has no series with outcome="okay"`,
		`logins_total{outcome=~"ok|wong"}`:           `logins_total has no series with outcome="wong"`,
		`wait_seconds_bucket{le="0.7"}`:              `wait_seconds_bucket has no series with le="0.7"`,
		`sum by (result) (logins_total)`:             `no metric in logins_total has the label "result"`,
		`sum without (result) (logins_total)`:        `no metric in logins_total has the label "result"`,
		`sum by (le) (rate(wait_seconds_count[5m]))`: `no metric in rate(wait_seconds_count[5m]) has the label "le"`,
		`logins_total / on (result) logins_total`:    `no metric in logins_total / on (result) logins_total has the label "result"`,
		`sum by (outcome) (job:wrong:rate5m)`:        `no metric in job:wrong:rate5m has the label "outcome"`,
		`sum(rate(logins_total[5m])`:                 `read "sum(rate(logins_total[5m])": `,
		`rate(queue)`:                                `read "rate(queue)": `,
	} {
		got := strings.Join(texts(e.Check(query)), "\n")
		if got != want && (!strings.HasPrefix(want, "read ") || !strings.HasPrefix(got, want)) {
			t.Errorf("%s\n got %q\nwant %q", query, got, want)
		}
	}
}

func TestTheListIsComparedWithTheMetrics(t *testing.T) {
	t.Parallel()
	e := small(t)
	for list, want := range map[string][]string{
		"| `logins_total{outcome}` | a `word` | b | c |\n| `wait_seconds{kind}` (histogram) | a | b | c |\n| `queue` | a | b | c |": nil,
		"| `logins_total{outcome}`, `queue` | a | b | c |\nSee `wait_seconds{kind}`.":                                               {"wait_seconds is exposed, but no row of a table lists it"},
		"| `logins_total` | a | b | c |\n| `wait_seconds{kind,le}` | a | b | c |\n| `queue` | a | b | c |": {
			"logins_total has the labels {outcome}, and {} are listed", "wait_seconds has the labels {kind}, and {kind,le} are listed"},
		"| `logins_total{outcome}` | a | b | c |\n| `wait_seconds{kind}` | a | b | c |\n| `queue` | a | b | c |\n| `queues` | a | b | c |": {"queues is listed, but no service exposes it"},
	} {
		if got := texts(e.Documented(list)); !slices.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", list, got, want)
		}
	}
}

func texts(errs []error) (all []string) {
	for _, err := range errs {
		all = append(all, err.Error())
	}
	return all
}

var heading = regexp.MustCompile(`(?m)^### (\w+)$`)

// An operator who is paged must find what to do.
func TestEveryAlertLeadsToItsPartOfTheRunbook(t *testing.T) {
	t.Parallel()
	rules, err := Rules(root)
	if err != nil {
		t.Fatal(err)
	}
	runbook, err := Section(root, "Runbook")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(runbook, -1) {
		headings[m[1]] = true
	}
	alerts := 0
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		alerts++
		if !headings[r.Alert] {
			t.Errorf("the runbook has no heading ### %s", r.Alert)
		}
		delete(headings, r.Alert)
		// An anchor is its heading in small letters.
		if got, want := r.Annotations["runbook_url"], "docs/operations.md#"+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s links to %q, want %q", r.Alert, got, want)
		}
		for _, name := range []string{"summary", "description"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s has no %s", r.Alert, name)
			}
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", r.Alert, s)
		}
		if r.For == "" {
			t.Errorf("%s fires for a single scrape", r.Alert)
		}
	}
	for name := range headings {
		t.Errorf("the runbook has the heading ### %s, but there is no such alert", name)
	}
	if alerts < 20 {
		t.Errorf("only %d alerts were found", alerts)
	}
}

var firing = regexp.MustCompile(`^ALERTS\{alertname="(\w+)", alertstate="firing"\}$`)

func TestEveryAlertIsTestedToFireAndToStayQuiet(t *testing.T) {
	t.Parallel()
	rules, err := Rules(root)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := RuleTests(root)
	if err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, e := range tests {
		m := firing.FindStringSubmatch(e.Expr)
		switch {
		case m == nil && e.Expr != `ALERTS{alertstate="firing"}`:
			t.Errorf("unexpected expression %q in a rule test", e.Expr)
		case m == nil:
		case len(e.Samples) == 0:
			quiet[m[1]] = true
		default:
			fires[m[1]] = true
		}
	}
	for _, r := range rules {
		if r.Alert != "" && (!fires[r.Alert] || !quiet[r.Alert]) {
			t.Errorf("%s: tested to fire: %v, to stay quiet: %v", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	panels, err := Panels(root)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	ids, taken := map[int]bool{}, map[string]string{}
	for _, p := range panels {
		if ids[p.ID] {
			t.Errorf("%s has the same id as another panel", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				at := fmt.Sprint(x, ",", y)
				if other, ok := taken[at]; ok || x >= 24 {
					t.Fatalf("%q overlaps %q at %s", p.Title, other, at)
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("%q lacks its title, its description %q or its unit %q", p.Title, p.Description, p.FieldConfig.Defaults.Unit)
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%q has the data source %q and %d targets", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			if target.Expr == "" || target.LegendFormat == "" {
				t.Errorf("%q has a line without a query or a name", p.Title)
			}
		}
	}
	if len(rows) < 2 || rows[0] != "Requests: rate, errors, duration" || rows[1] != "Money" {
		t.Errorf("the rows are %q: requests come first, then money", rows)
	}
}
