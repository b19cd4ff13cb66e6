package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"lavka/deploy/local/stack"
)

// table is Markdown.
func (b *bench) table() string {
	var t strings.Builder
	t.WriteString("| work | target | | median | min – max | last round |\n|---|---|---|---|---|---|\n")
	for _, r := range b.rows {
		least, most := r.values[0], r.values[0]
		for _, v := range r.values {
			least, most = min(least, v), max(most, v)
		}
		form := "%.2f" + r.unit
		if most >= 100 {
			form = "%.0f" + r.unit
		}
		fmt.Fprintf(&t, "| %s | %s | %s | **"+form+"** | "+form+" – "+form+" | %s |\n", r.name, r.target, met(r.target, r.median()), r.median(), least, most, r.notes[len(r.notes)-1])
	}
	return t.String()
}

// met says whether a value is what its target asks for: "≥ 0.9", "≤ 3 s".
func met(target string, value float64) string {
	var sign, unit string
	var bound float64
	// What has no number asks for nothing.
	if n, _ := fmt.Sscan(target, &sign, &bound, &unit); n < 2 {
		return ""
	}
	if (sign == "≥") == (value >= bound) || value == bound {
		return "met"
	}
	return "not met"
}

// write writes the table where it can be read.
func (b *bench) write(dir, adds string) error {
	postgres, err := exec.Command(b.floor.pgbench, "--version").Output()
	if err != nil {
		return fmt.Errorf("ask pgbench for its version: %w", err)
	}
	if err := plotCurve(b.curve, dir); err != nil {
		return err
	}
	text := fmt.Sprintf(`# Benchmarks

Written by %[1]smake bench%[1]s. Everything was measured in one run on one machine, with the load generator beside the shop; the baselines and the shop ran alternately, %[2]d rounds. Compare only ratios: absolute figures depend on the machine. Why targets are not met, and what each would take: [performance.md](performance.md#what-is-not-met).

%[3]d processors, %[4]s, %[5]s; %[6]d users, %[7]d bills, %[8]d products; fsync on, the services' default sampler. Afterwards %[1]sbilling verify%[1]s reported: %[9]s.

%[10]s
## Rate and latency by number of clients

Purchases over all bills; each client sends its next request as soon as it has a response.

![rate and p99 against the number of clients](benchmarks.svg)

## Memory

| service | idle for ten seconds | maximum under any load |
|---|---|---|
%[11]s`, "`", b.rounds, processors, runtime.Version(), strings.TrimSpace(string(postgres)), len(b.users), len(b.bills), len(b.products), adds, b.table(), b.memories())
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(text), 0o644)
}

// memories is the memory of each service, in words.
func memories(mib map[string]float64) string {
	var parts []string
	for _, service := range stack.Services() {
		parts = append(parts, fmt.Sprintf("%s %.0f MiB", service, mib[service]))
	}
	return strings.Join(parts, ", ")
}

func (b *bench) memories() string {
	var t strings.Builder
	for _, service := range stack.Services() {
		fmt.Fprintf(&t, "| %s | %.0f MiB | %.0f MiB |\n", service, b.atRest[service], b.peak[service])
	}
	return t.String()
}
