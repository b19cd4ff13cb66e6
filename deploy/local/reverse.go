package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
	"lavka/libs/service/standardwebhooks"
)

// reverse plays the payment provider: it takes back a payment, or a part of it, under a new reversal id.
func reverse(ctx context.Context, cfg settings, args []string) error {
	flags := flag.NewFlagSet("reverse", flag.ContinueOnError)
	of := flags.String("payment", "", "the transaction `id` of the payment")
	total := flags.String("total", "", "what was reversed of the payment so far, with this reversal")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	for _, given := range []struct{ name, value string }{{"payment", *of}, {"total", *total}} {
		if !isNumber(given.value) {
			return fmt.Errorf("%s must be a number, but is %q: make reverse PAYMENT=301947951358 TOTAL=60", given.name, given.value)
		}
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	keys, err := standardwebhooks.ParseKeys(strings.Join(shop.PaymentSigningSecrets, ","))
	if err != nil {
		return fmt.Errorf("read the signing secrets of the running shop: %w", err)
	}
	if len(keys) == 0 {
		return errors.New("the running shop has no signing secret: restart it with make run")
	}
	id, err := randomID()
	if err != nil {
		return err
	}
	header, body := payment.SignedReversal(keys[0], id, *of, *total)
	reversal := call{method: http.MethodPost, path: "/payment/reversals", header: map[string]string{}, body: json.RawMessage(body)}
	for name := range header {
		reversal.header[name] = header.Get(name)
	}
	answer, err := client{base: shop.GatewayURL, show: os.Stdout}.do(ctx, reversal)
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return fmt.Errorf("the reversal was refused: %s", answer.text("detail"))
	}
	return nil
}
