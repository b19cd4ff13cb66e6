// Command lavka runs the whole shop on this machine, and provides the tools for a running one. See lavka help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const help = `lavka runs the whole shop on this machine: PostgreSQL, NATS, the services and a gateway.

  lavka [run]                                 run it until Ctrl-C
  lavka run --without billing                 run it without a service, and show how to start that one under a debugger
  lavka restart SERVICE                       replace a service's running process with the binary beside this one
  lavka demo [--url URL]                      play the whole story against the running shop, and check every response
  lavka seed [--url URL]                      add users, products, bills with money and purchases; safe to repeat
  lavka topup --user N --bill N --amount N    play the payment provider
  lavka reverse --payment N --total N         play the payment provider: take back a payment, or a part of it
  lavka refund --purchase ID [--amount N]     give back money of a purchase, as the administrator; --force also to a bill that owes
  lavka trace [ID | --purchase ID]            show what happened in a request, in a purchase, or in the latest purchase
  lavka verify                                check the running shop: the ledger, the schemas, and catalog's purchases against billing's charges
  lavka verify --books CATALOG BILLING        compare what catalog books and then billing books have written to files
  lavka finish                                complete an upgrade: open the gate for new kinds of rows, when no replica of the release before is left
  lavka restore DUMP                          restore a dump of the database into a new data directory
  lavka secrets [DIR]                         create the secrets that docker-compose.yml needs and that don't exist yet
  lavka clean                                 remove the shop's data, and the binaries beside this one

Settings are environment variables; docs/settings.md lists them. LAVKA_DATA selects the shop.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	// The reader of our output may exit before us, as in make run | tee log at Ctrl-C. That must not end the shutdown half-way.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lavka:", err)
		os.Exit(1)
	}
}

// endings are the signals that stop the shop. SIGHUP, from a closed terminal, is one of them unless nohup makes the program ignore it.
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
		"run": run, "restart": restart, "demo": demo, "seed": seed, "topup": topUp, "reverse": reverse, "refund": refund, "trace": showTrace, "verify": verify, "finish": finish, "restore": restore, "secrets": makeSecrets, "clean": clean,
	}
	do, ok := commands[command]
	if !ok {
		return fmt.Errorf("unknown command %q: see lavka help", command)
	}
	cfg, err := load()
	if err != nil {
		return err
	}
	return do(ctx, cfg, args)
}
