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

// ErrUnavailable is the problem that a client gets while the database is
// unreachable or busy.
var ErrUnavailable = problem.New(problem.Unavailable, "unavailable", "the database is unreachable or busy; retry, but after a write first check whether it took effect").Retry(time.Second)

// Wrap says what failed. A transient error (see [Passing]) becomes the problem
// ErrUnavailable; any other error stays one that shows the client nothing. Wrap
// returns problems, and nil, as they are.
func Wrap(what string, err error) error {
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

// Passing reports whether an error is transient rather than the statement's
// fault: the server did not answer, refused the connection, or chose the
// transaction as a loser; or the SQLSTATE is of class 08 (connection), 25
// (read-only: a standby), 53 (resources) or 57 (shutdown, time limit).
func Passing(err error) bool {
	var connect *pgconn.ConnectError // whatever the reason, such as a password that was changed
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
