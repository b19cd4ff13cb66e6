package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lavka/deploy/local/stack"
)

// pagesOf are the methods of each service's store that read a page of a list.
var pagesOf = map[string][]string{
	stack.Auth:    {"Users"},
	stack.Billing: {"Transactions", "Bills", "Customers"},
	stack.Catalog: {"Products", "Purchases"},
}

var readsAtMost = regexp.MustCompile(`: ([\w ]+) reads at most (\d+) buffers`)

// flat runs each service's TestReadsAreFlat with many rows. The test fails if a read
// takes more buffers than it may; the table shows what pages took.
func (b *bench) flat(ctx context.Context) error {
	for _, service := range stack.Services() {
		test := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=2h", "-run=^TestReadsAreFlat$", "./services/"+service+"/internal/postgres", "-rows="+strconv.Itoa(b.flatRows))
		test.Dir = b.root
		out, err := test.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", service, err, out)
		}
		most, all := 0, []string{}
		for _, found := range readsAtMost.FindAllStringSubmatch(string(out), -1) {
			buffers, err := strconv.Atoi(found[2])
			if err != nil {
				return err
			}
			if slices.Contains(pagesOf[service], found[1]) {
				most = max(most, buffers)
			}
			all = append(all, found[1]+" "+found[2])
		}
		if most == 0 {
			return fmt.Errorf("%s: the test does not report what a page reads: %s", service, out)
		}
		b.add(fmt.Sprintf("buffers that a page of %s reads with %s rows stored, at most", service, millions(b.flatRows)), "≤ 60", "", float64(most), strings.Join(all, ", "))
	}
	return nil
}
