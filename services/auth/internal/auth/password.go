package auth

import (
	"strings"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"github.com/ccojocar/zxcvbn-go/matching"

	"lavka/libs/domain/problem"
)

const (
	minPassword = 8   // characters
	maxPassword = 256 // bytes: 64 characters of any script
	// minScore is zxcvbn's "safely unguessable: moderate protection from an
	// offline attack", over 10^8 guesses.
	minScore = 3
	// judged bounds how much of a password is looked at, in characters, since
	// the time grows faster than the length. What begins with 32 characters that
	// are hard to guess is hard to guess.
	judged = 32
)

// letters undoes the substitutions that everybody knows. zxcvbn's own way tries
// every combination of them: a second for 24 characters that are well chosen.
var letters = strings.NewReplacer(
	"4", "a", "@", "a", "8", "b", "(", "c", "{", "c", "[", "c", "<", "c", "3", "e", "6", "g", "9", "g", "1", "l", "|", "l", "!", "i",
	"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "2", "z", "%", "x")

// checkPasswordLength is the cheap part of [checkPasswordStrength].
func checkPasswordLength(password, field string) error {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return badPassword(field, "must have at least 8 characters")
	case len(password) > maxPassword:
		return badPassword(field, "must have at most 256 bytes")
	}
	return nil
}

// checkPasswordStrength refuses passwords that are easy to guess, knowing the
// login. It takes up to 20 ms.
func checkPasswordStrength(login, password, field string) error {
	chars := []rune(password)
	if len(chars) > judged {
		chars = chars[:judged]
	}
	parts := strings.FieldsFunc(Fold(login), func(r rune) bool { return strings.ContainsRune("._-@+", r) })
	known := append(parts, Fold(login), "lavka")
	for _, text := range []string{string(chars), letters.Replace(string(chars))} {
		if zxcvbn.PasswordStrength(text, known, matching.FilterL33tMatcher).Score < minScore {
			return badPassword(field, "is easy to guess; take a few unusual words, or let a password manager make one up, and leave out the login, names, dates and keyboard rows")
		}
	}
	return nil
}

func badPassword(field, message string) error {
	return problem.InvalidFields(problem.Field{Field: field, Message: message})
}
