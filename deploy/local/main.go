// Command lavka runs the whole shop on this machine, and has the tools for a running one. See lavka help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const help = `lavka runs the whole shop on this machine: PostgreSQL, NATS, the services and a gateway.

  lavka [run]                                 run it, until Ctrl-C
  lavka demo                                  tell the whole story against the running shop
  lavka topup --user N --bill N --amount N    play the payment provider
  lavka trace [ID]                            show what happened in a request, or in the latest purchase
  lavka verify                                check the ledger of the running shop
  lavka secrets [DIR]                         make the secrets that docker-compose.yml needs, where they are missing
  lavka clean                                 remove the shop's data, and the binaries beside this one

Settings are environment variables; README.md lists them. LAVKA_DATA says which shop is meant.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	// Whoever read our output may be gone before us, as in make run | tee log at Ctrl-C: that is no reason to die half-way.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lavka:", err)
		os.Exit(1)
	}
}

// endings are the signals that stop the shop; a closed terminal does, unless nohup was asked to see to that.
func endings() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return []os.Signal{os.Interrupt, syscall.SIGTERM}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
}

func dispatch(ctx context.Context, args []string) error {
	command := "run"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	if command == "help" || command == "-h" || command == "--help" {
		_, err := fmt.Print(help)
		return err
	}
	commands := map[string]func(context.Context, settings, []string) error{
		"run": run, "demo": demo, "topup": topUp, "trace": showTrace, "verify": verify, "secrets": makeSecrets, "clean": clean,
	}
	do, ok := commands[command]
	if !ok {
		return fmt.Errorf("there is no command %q: see lavka help", command)
	}
	cfg, err := load()
	if err != nil {
		return err
	}
	return do(ctx, cfg, args)
}
