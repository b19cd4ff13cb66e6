package auth

import (
	"strings"

	"github.com/ccojocar/zxcvbn-go"

	"lavka/libs/problem"
)

const (
	minPassword = 8   // bytes
	maxPassword = 128 // bytes
	// minScore is zxcvbn's "safely unguessable: moderate protection from an
	// offline attack", over 10^8 guesses.
	minScore = 3
	// judged bounds how much of a password is looked at, in characters. The
	// time grows faster than the square of the length: at worst 45 ms for 24
	// characters, two and a half seconds for 100. What begins with 24
	// characters that are hard to guess is hard to guess.
	judged = 24
)

// checkPasswordLength is the cheap part of [checkPasswordStrength].
func checkPasswordLength(password, field string) error {
	switch {
	case len(password) < minPassword:
		return badPassword(field, "must have at least 8 characters")
	case len(password) > maxPassword:
		return badPassword(field, "must have at most 128 bytes")
	}
	return nil
}

// checkPasswordStrength refuses passwords that are easy to guess, knowing the
// login. It takes up to 50 ms.
func checkPasswordStrength(login, password, field string) error {
	chars := []rune(password)
	if len(chars) > judged {
		chars = chars[:judged]
	}
	parts := strings.FieldsFunc(Fold(login), func(r rune) bool { return strings.ContainsRune("._-@+", r) })
	known := append(parts, Fold(login), "lavka")
	if zxcvbn.PasswordStrength(string(chars), known).Score < minScore {
		return badPassword(field, "is easy to guess; take a few unusual words, or let a password manager make one up, and leave out the login, names, dates and keyboard rows")
	}
	return nil
}

func badPassword(field, message string) error {
	return problem.InvalidFields(problem.Field{Field: field, Message: message})
}
