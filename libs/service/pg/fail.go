package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"lavka/libs/domain/problem"
)

// ErrUnavailable is what a client hears while the database is away or busy.
var ErrUnavailable = problem.New(problem.Unavailable, "unavailable", "the database can't answer right now; try again").Retry(time.Second)

// Fail names what failed. An error that speaks of the moment becomes the
// problem ErrUnavailable; one that speaks of the statement stays an error that
// shows nothing. Problems, and nil, pass as they are.
func Fail(what string, err error) error {
	var p *problem.Error
	if err == nil || errors.As(err, &p) {
		return err
	}
	err = fmt.Errorf("%s: %w", what, err)
	if Passing(err) {
		return ErrUnavailable.Because(err)
	}
	return err
}

// Passing reports whether an error says something about the moment and not
// about the statement: no answer of the server, no way into it, a lost race, or the SQLSTATE
// classes 08 (connection), 25 (read-only: a standby), 53 (resources) and 57
// (shutdown, time limit).
func Passing(err error) bool {
	var connect *pgconn.ConnectError // whatever the server gives as its reason, such as a password that is no longer the right one
	if Again(err) || LockTimeout(err) || pgconn.SafeToRetry(err) || errors.As(err, &connect) {
		return true
	}
	if code := Code(err); code != "" {
		return slices.Contains([]string{"08", "25", "53", "57"}, code[:2])
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
