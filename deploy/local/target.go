package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"lavka/deploy/local/stack"
	"lavka/libs/service/standardwebhooks"
)

// target is the shop that demo and seed use, with what they need to act as its administrator and as its payment provider.
type target struct {
	client
	keys    []string
	signing []standardwebhooks.Key // for signatures in the header; none if they are not known here
	admin   credentials
}

// parseTarget reads the arguments of a command. Without --url, the target is the shop that runs on the data directory.
func parseTarget(cfg settings, command string, args []string) (t target, err error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.StringVar(&t.base, "url", "", "the gateway's `URL` of another shop; ADMIN_LOGIN, ADMIN_PASSWORD and PAYMENT_PRIVATE_KEYS must then be that shop's")
	flags.StringVar(&t.payments, "payments-url", "", "the `URL` for the payment provider, if it is not the same")
	if err := flags.Parse(args); err != nil {
		return t, err
	}
	t.base, t.payments = strings.TrimSuffix(t.base, "/"), strings.TrimSuffix(t.payments, "/")
	t.keys, t.admin = cfg.paymentKeys(), credentials{cfg.AdminLogin, cfg.AdminPassword.Reveal()}
	secrets := list(cfg.SigningSecret)
	switch {
	case t.base == "" && t.payments != "":
		return t, errors.New("--payments-url is set without --url, which must lead to the same shop")
	case t.base == "":
		shop, err := stack.Running(cfg.Data)
		if err != nil {
			return t, err
		}
		t.base, t.keys, secrets, t.admin.Login = shop.GatewayURL, shop.PaymentKeys, shop.PaymentSigningSecrets, shop.AdminLogin
		if t.admin.Password == "" {
			t.admin.Password = shop.AdminPassword
		}
	}
	if t.admin.Password == "" {
		return t, errors.New("the administrator's password is not known here: set ADMIN_PASSWORD to it")
	}
	if len(t.keys) == 0 {
		return t, errors.New("PAYMENT_PRIVATE_KEYS is not set, so no payment can be signed")
	}
	if t.signing, err = standardwebhooks.ParseKeys(strings.Join(secrets, ",")); err != nil {
		return t, fmt.Errorf("read the signing secrets: %w", err)
	}
	return t, nil
}
