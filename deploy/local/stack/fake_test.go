package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestMain also runs the services: called by a service's name, the test binary stands in for that service. It also runs the launcher that
// TestKilledLauncher kills.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); slices.Contains(Services(), name) {
		if err := stand(name, os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv("STACK_TEST_DIR"); dir != "" {
		s, err := Start(context.Background(), Config{BinDir: filepath.Join(dir, "bin"), DataDir: filepath.Join(dir, "data"), Volatile: true})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("up")
		<-make(chan int)
		fmt.Println(s)
	}
	os.Exit(m.Run())
}

// stand is a service that responds to every request with its name, its process id and its settings.
func stand(name string, args []string) error {
	switch {
	case slices.Equal(args, []string{"migrate"}):
		if os.Getenv("MIGRATE_DATABASE_URL") == "" {
			return errors.New("no MIGRATE_DATABASE_URL")
		}
		fmt.Println("migrated")
		return nil
	case len(args) == 3 && args[0] == "keys":
		return os.WriteFile(args[2], []byte("{}"), 0o600)
	case len(args) > 0:
		return fmt.Errorf("unknown subcommand %v", args)
	case os.Getenv("BROKEN") != "":
		return errors.New("I am broken")
	}
	told := map[string]string{"NAME": name}
	for _, key := range append(ours, "PGHOST", "EXTRA") {
		told[key] = os.Getenv(key)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	public := &http.Server{Addr: os.Getenv("HTTP_ADDR"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		told["PID"] = fmt.Sprint(os.Getpid())
		if err := json.NewEncoder(w).Encode(told); err != nil {
			panic(http.ErrAbortHandler)
		}
	})}
	internal := &http.Server{Addr: os.Getenv("INTERNAL_ADDR"), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	failed := make(chan error, 2)
	go func() { failed <- public.ListenAndServe() }()
	go func() { failed <- internal.ListenAndServe() }()
	fmt.Println("serving")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(public.Shutdown(limit), internal.Shutdown(limit))
}

// fakeBin creates a directory of such services.
func fakeBin(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range Services() {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}
