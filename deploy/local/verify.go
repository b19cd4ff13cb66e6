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

// verify runs the services' checks, and has billing compare catalog's books with its own. With
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
	return failed(cmd.Run(), "the check of "+service, service+" verify")
}

func failed(err error, what, command string) error {
	switch {
	case err == nil:
		return nil
	case exited(err):
		return fmt.Errorf("%s failed; see its output above", what)
	}
	return fmt.Errorf("%s failed: %s: %w", what, command, err)
}

// compareShop has billing compare catalog's books with its own, while catalog writes them.
func compareShop(ctx context.Context, shop stack.Shop) error {
	from, to, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("connect catalog books with billing compare: %w", err)
	}
	write, compare := shop.Command(ctx, stack.Catalog, "books"), shop.Command(ctx, stack.Billing, "compare", "-")
	write.Stdout, write.Stderr, compare.Stdin = to, os.Stderr, from
	compare.Stdout, compare.Stderr = os.Stdout, os.Stderr
	writing, comparing := write.Start(), compare.Start()
	errs := []error{writing, comparing, from.Close(), to.Close()} // each has its own end now
	if comparing == nil {
		errs = append(errs, failed(compare.Wait(), "the comparison of catalog with billing", "billing compare"))
	}
	if writing == nil {
		// A signal, because billing reads no further when it has found differences.
		if err := write.Wait(); compare.ProcessState == nil || compare.ProcessState.Success() || exited(err) {
			errs = append(errs, failed(err, "writing catalog's books", "catalog books"))
		}
	}
	return errors.Join(errs...)
}

func exited(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.Exited()
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
