package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"lavka/deploy/local/stack"
	"lavka/libs/contract/books"
)

// verify runs the services' checks, and compares catalog's books with billing's. With
// --books it only compares two files.
func verify(ctx context.Context, cfg settings, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "--books":
		return compareFiles(args[1], args[2])
	case len(args) > 0:
		return errors.New("usage: lavka verify, or lavka verify --books CATALOG BILLING with what catalog books and then billing books have written")
	}
	shop, err := stack.Running(cfg.Data)
	if err != nil {
		return err
	}
	var errs []error
	for _, service := range []string{stack.Billing, stack.Auth, stack.Catalog} {
		errs = append(errs, check(shop.Command(ctx, service, "verify"), service))
	}
	return errors.Join(append(errs, compareShop(ctx, shop))...)
}

func check(cmd *exec.Cmd, service string) error {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return fmt.Errorf("the check of %s failed; see its output above", service)
	}
	if err != nil {
		return fmt.Errorf("the check of %s failed: %s verify: %w", service, service, err)
	}
	return nil
}

// compareShop runs both commands at once, billing's when catalog's has its snapshot.
func compareShop(ctx context.Context, shop stack.Shop) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bought, endCatalog, err := open(shop.Command(ctx, stack.Catalog, "books"), books.Catalog)
	if err != nil {
		return err
	}
	charged, endBilling, err := open(shop.Command(ctx, stack.Billing, "books"), books.Billing)
	if err != nil {
		cancel()
		return errors.Join(err, ended(endCatalog()))
	}
	result, err := books.Compare(bought, charged)
	if err != nil || len(result.Differences) > 0 {
		cancel() // what is left of the books does not matter
		return errors.Join(report(result, err), ended(endCatalog()), ended(endBilling()))
	}
	return errors.Join(endCatalog(), endBilling(), report(result, nil))
}

// ended drops the error of a command that was interrupted on purpose.
func ended(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// open starts a command that writes books, and reads their first line.
func open(cmd *exec.Cmd, book string) (*books.Reader, func() error, error) {
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s books: %w", book, err)
	}
	end := func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%s books: %w", book, err)
		}
		return nil
	}
	r, err := books.NewReader(out, book)
	if err != nil {
		return nil, nil, errors.Join(err, ended(end()))
	}
	return r, end, nil
}

func compareFiles(catalog, billing string) error {
	var readers [2]*books.Reader
	for i, of := range []struct{ file, book string }{{catalog, books.Catalog}, {billing, books.Billing}} {
		f, err := os.Open(of.file)
		if err != nil {
			return fmt.Errorf("read the books of %s: %w", of.book, err)
		}
		defer f.Close()
		if readers[i], err = books.NewReader(io.Reader(f), of.book); err != nil {
			return err
		}
	}
	return report(books.Compare(readers[0], readers[1]))
}

func report(result books.Compared, err error) error {
	if err != nil {
		return fmt.Errorf("the books could not be compared: %w", err)
	}
	for _, difference := range result.Differences {
		fmt.Println(difference)
	}
	if n := len(result.Differences); n > 0 {
		return fmt.Errorf("catalog and billing differ; the first %d differences are above", n)
	}
	fmt.Printf("catalog and billing agree on %d purchases and %d refunds\n", result.Purchases, result.Refunds)
	return nil
}
