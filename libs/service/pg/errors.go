package pg

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

type commitError struct{ err error }

func (e *commitError) Error() string { return fmt.Sprintf("commit: %v", e.err) }
func (e *commitError) Unwrap() error { return e.err }

// CommitUnknown reports whether a COMMIT was sent and no answer arrived: the
// transaction may or may not have been committed. A COMMIT that the server
// refused is known not to have been.
func CommitUnknown(err error) bool {
	var c *commitError
	var refused *pgconn.PgError
	if !errors.As(err, &c) {
		return false
	}
	return !errors.As(err, &refused) || strings.HasPrefix(refused.Code, "57") || strings.HasPrefix(refused.Code, "08")
}

// Code returns the SQLSTATE of an error, or "" if the server gave none.
func Code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// The SQLSTATEs that the services act on (PostgreSQL, appendix A).
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	idleInTransaction    = "25P03"
	queryCanceled        = "57014" // by statement_timeout
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
)

// Again reports whether the transaction is worth an immediate retry: it lost a
// race, or its connection.
func Again(err error) bool {
	switch Code(err) {
	case serializationFailure, deadlockDetected, uniqueViolation, idleInTransaction, adminShutdown, crashShutdown:
		return true
	}
	return CommitUnknown(err)
}

// BadData reports whether the server refused the data (classes 22 and 23): a
// retry with the same data would be refused too.
func BadData(err error) bool {
	code := Code(err)
	return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
}

// LockTimeout reports whether another transaction held a lock for longer than
// lock_timeout.
func LockTimeout(err error) bool { return Code(err) == lockNotAvailable }

// UniqueViolation reports whether a row with the same key exists, and which
// constraint it violates.
func UniqueViolation(err error) (constraint string, ok bool) {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == uniqueViolation {
		return e.ConstraintName, true
	}
	return "", false
}
