package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"lavka/libs/domain/problem"
	"lavka/libs/service/pg"
	"lavka/libs/service/program"
	"lavka/services/auth/internal/auth"
	"lavka/services/auth/internal/postgres"
)

const adminUsage = "usage: auth admin create LOGIN (password from ADMIN_PASSWORD or standard input), auth admin grant LOGIN [admin|support], auth admin revoke LOGIN"

// runAdmin creates admins and changes roles in the database. A running replica
// publishes the change.
func runAdmin(ctx context.Context, cfg Config, args []string, std program.Streams) error {
	if len(args) == 2 && args[0] == "grant" {
		args = append(args, string(auth.RoleAdmin))
	}
	if len(args) < 2 || (len(args) == 3) != (args[0] == "grant") || len(args) > 3 {
		return errors.New(adminUsage)
	}
	command, login := args[0], args[1]
	if command == "grant" && args[2] != string(auth.RoleAdmin) && args[2] != string(auth.RoleSupport) {
		return fmt.Errorf("the role %q does not exist; %s", args[2], adminUsage)
	}
	if err := cfg.checkPasswordStrength(); err != nil {
		return err
	}
	pool, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), service+" admin", 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	pools := pg.OnePool(pool)
	defer pools.Close()
	store := postgres.New(pools)
	credentials, _, err := newCredentials(store, cfg)
	if err != nil {
		return err
	}
	admins := auth.NewAdmins(store, credentials)
	switch command {
	case "create":
		password := cfg.AdminPassword.Reveal()
		if password == "" {
			if password, err = readPassword(std.In); err != nil {
				return err
			}
		}
		user, err := admins.Create(ctx, login, password)
		if err != nil {
			return plain(err)
		}
		fmt.Fprintf(std.Out, "created the admin %s with id %d\n", user.Login, user.ID)
		return nil
	case "grant":
		return setRole(ctx, admins, login, auth.Role(args[2]), std.Out)
	case "revoke":
		return setRole(ctx, admins, login, auth.RoleUser, std.Out)
	}
	return errors.New(adminUsage)
}

func setRole(ctx context.Context, admins *auth.Admins, login string, role auth.Role, out io.Writer) error {
	changed, err := admins.SetRole(ctx, login, role)
	if err != nil {
		return plain(err)
	}
	if !changed {
		fmt.Fprintf(out, "%s already has the role %s\n", login, role)
		return nil
	}
	fmt.Fprintf(out, "%s now has the role %s; their existing access tokens are revoked\n", login, role)
	return nil
}

func readPassword(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		return "", errors.New("no password: set ADMIN_PASSWORD or write it to standard input as one line")
	}
	return password, nil
}

// plain turns a problem into an error for a terminal: its text without its code.
func plain(err error) error {
	var p *problem.Error
	if !errors.As(err, &p) {
		return err
	}
	texts := []string{}
	for _, f := range p.Fields {
		texts = append(texts, f.Field+" "+f.Message)
	}
	if len(texts) == 0 {
		texts = append(texts, p.Detail)
	}
	if p.Cause != nil {
		texts = append(texts, p.Cause.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}
