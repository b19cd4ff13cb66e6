// K8s checks what is in deploy/k8s without a cluster: it builds each overlay, decodes every object strictly into its real type, and holds the objects
// against a table of rules. Its tests make one mistake for each rule.
//
//	make k8s-check
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", "../..", "the repository")
	flag.Parse()
	failed := false
	for _, overlay := range overlays {
		o, err := render(*root, overlay)
		if err != nil {
			fmt.Println("FAIL:", err)
			failed = true
			continue
		}
		findings := 0
		for _, r := range rules(*root) {
			for _, what := range r.broken(o) {
				fmt.Printf("FAIL: %s: %s: %s\n", overlay, r.name, what)
				findings++
			}
		}
		fmt.Printf("%s: %d objects, %d rules, %d findings\n", overlay, len(o.all), len(rules(*root)), findings)
		failed = failed || findings > 0
	}
	if failed {
		os.Exit(1)
	}
}
