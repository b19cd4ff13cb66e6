package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"lavka/deploy/local/stack"
)

// refund gives back money of a purchase, as the running shop's administrator, under a new key.
func refund(ctx context.Context, cfg settings, args []string) error {
	flags := flag.NewFlagSet("refund", flag.ContinueOnError)
	purchase := flags.String("purchase", "", "the `id` of the purchase")
	amount := flags.String("amount", "", "the amount, with at most two decimals; without it, all that is left")
	reason := flags.String("reason", "Refunded by the administrator", "for the buyer too")
	force := flags.Bool("force", false, "refund also to a bill on which a reversal has left a shortfall")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if *purchase == "" || *amount != "" && !isNumber(*amount) {
		return errors.New("name a purchase, and a number as the amount if not all is refunded: make refund PURCHASE=<id> AMOUNT=19.90")
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	c := client{base: shop.GatewayURL}
	admin := credentials{shop.AdminLogin, shop.AdminPassword}
	if cfg.AdminPassword.Reveal() != "" {
		admin.Password = cfg.AdminPassword.Reveal()
	}
	in, err := c.do(ctx, call{method: http.MethodPost, path: "/auth/login", body: admin})
	if err != nil {
		return err
	}
	if in.status != http.StatusOK {
		return fmt.Errorf("the administrator can't log in: %s", in.text("detail"))
	}
	body := map[string]any{"reason": *reason}
	if *amount != "" {
		body["amount"] = json.Number(*amount)
	}
	if *force {
		body["force"] = true
	}
	c.show = os.Stdout
	a, err := c.do(ctx, call{
		method: http.MethodPost, path: "/purchases/" + url.PathEscape(*purchase) + "/refunds", token: in.text("access_token"), body: body,
		header: map[string]string{"Idempotency-Key": rand.Text()},
	})
	if err != nil {
		return err
	}
	if a.status != http.StatusCreated && a.status != http.StatusAccepted {
		return fmt.Errorf("the refund was refused: %s", a.text("detail"))
	}
	return nil
}
