package architecture

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A worker that ignores its own context does not end when the service stops early,
// and the service hangs instead of exiting. See workers.Until.
func TestWorkersEndWithTheirContext(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "services/*/run.go"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files of services: %q, %v", files, err)
	}
	ignored := regexp.MustCompile(`func\((_ )?context\.Context\) \{`)
	if !ignored.MatchString("workers.Start(ctx, func(context.Context) { gate.Run(ctx) })") {
		t.Fatal("the rule can't fail")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := ignored.FindIndex(text); found != nil {
			t.Errorf("%s: a function ignores its context: %.60s", file, text[found[0]:])
		}
	}
}
