package stack

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Shops with the same template start with copies of its database, each with its own passwords, and run side by side.
func TestTemplate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin, template := fakeBin(t, dir), filepath.Join(dir, "template")
	if err := MakeTemplate(t.Context(), bin, template); err != nil {
		t.Fatal(err)
	}
	var origins [2]int64
	for i := range origins {
		s, out := open(t, Config{BinDir: bin, DataDir: filepath.Join(dir, strconv.Itoa(i)), Template: template})
		conn, err := pgx.Connect(t.Context(), s.DatabaseURL(Catalog))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		if err := conn.QueryRow(t.Context(), `SELECT system_identifier FROM pg_control_system()`).Scan(&origins[i]); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "auth      | migrated\n") {
			t.Error("the copy is not migrated, although its template may be of an earlier release")
		}
	}
	if origins[0] != origins[1] {
		t.Errorf("the databases are not copies of one: their system identifiers are %v", origins)
	}
}
