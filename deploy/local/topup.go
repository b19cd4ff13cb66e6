package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"

	"lavka/deploy/local/payment"
	"lavka/deploy/local/stack"
	"lavka/libs/service/standardwebhooks"
)

// randomID returns a number below 10¹², where the ids of the shop's own bills begin: small enough to be exact in the numbers of every client.
func randomID() (json.Number, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000_000_000-1))
	if err != nil {
		return "", fmt.Errorf("generate an id: %w", err)
	}
	return json.Number(n.Add(n, big.NewInt(1)).String()), nil
}

// topUp plays the payment provider: it sends one payment with a new transaction id.
func topUp(ctx context.Context, cfg settings, args []string) error {
	flags := flag.NewFlagSet("topup", flag.ContinueOnError)
	user := flags.String("user", "", "the `id` of the user who owns the bill")
	bill := flags.String("bill", "", "the `id` of the bill, which is created if it does not exist")
	amount := flags.String("amount", "", "the amount, with at most two decimals")
	signature := flags.String("signature", "legacy", "legacy signs in the body, v2 in the header")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	for _, given := range []struct{ name, value string }{{"user", *user}, {"bill", *bill}, {"amount", *amount}} {
		if !isNumber(given.value) {
			return fmt.Errorf("%s must be a number, but is %q: make topup USER=1 BILL=1 AMOUNT=100", given.name, given.value)
		}
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	id, err := randomID()
	if err != nil {
		return err
	}
	webhook := call{method: http.MethodPost, path: "/payment/webhook"}
	switch *signature {
	case "legacy":
		webhook.body = json.RawMessage(payment.Signed(shop.PaymentKeys[0], id, *user, *bill, *amount))
	case "v2":
		keys, err := standardwebhooks.ParseKeys(strings.Join(shop.PaymentSigningSecrets, ","))
		if err != nil {
			return fmt.Errorf("read the running shop's signing secrets: %w", err)
		}
		if len(keys) == 0 {
			return errors.New("the running shop has no signing secret: restart it with make run")
		}
		header, body := payment.SignedInHeader(keys[0], id, *user, *bill, *amount)
		webhook.header, webhook.body = map[string]string{}, json.RawMessage(body)
		for name := range header {
			webhook.header[name] = header.Get(name)
		}
	default:
		return fmt.Errorf("the signature is legacy or v2, but not %q", *signature)
	}
	answer, err := client{base: shop.GatewayURL, show: os.Stdout}.do(ctx, webhook)
	if err != nil {
		return err
	}
	if answer.status != http.StatusOK {
		return fmt.Errorf("the payment was refused: %s", answer.text("detail"))
	}
	return nil
}

// isNumber reports whether text is a JSON number. It accepts -1, 1.999 and 0 too: billing refuses them with a better explanation.
func isNumber(text string) bool {
	var n json.Number
	return json.Unmarshal([]byte(text), &n) == nil && text == n.String()
}
