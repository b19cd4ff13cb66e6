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
	// judged is how many characters of a password are checked for strength: the
	// time grows faster than linearly with the length. A password is hard to guess
	// if its first 32 characters are.
	judged = 32
)

// letters undoes common substitutions. zxcvbn's own matcher tries every
// combination of them, which takes a second for 24 maliciously chosen characters.
var letters = strings.NewReplacer(
	"4", "a", "@", "a", "8", "b", "(", "c", "{", "c", "[", "c", "<", "c", "3", "e", "6", "g", "9", "g", "1", "l", "|", "l", "!", "i",
	"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "2", "z", "%", "x")

// checkPasswordLength returns a problem if a password is too short or too long. It
// is cheap, so it runs before [checkPasswordStrength].
func checkPasswordLength(password, field string) error {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return badPassword(field, "must have at least 8 characters")
	case len(password) > maxPassword:
		return badPassword(field, "must have at most 256 bytes")
	}
	return nil
}

// checkPasswordStrength returns a problem if a password is easy to guess, also for
// a guesser who knows the login. It takes up to 20 ms.
func checkPasswordStrength(login, password, field string) error {
	chars := []rune(password)
	if len(chars) > judged {
		chars = chars[:judged]
	}
	parts := strings.FieldsFunc(Fold(login), func(r rune) bool { return strings.ContainsRune("._-@+", r) })
	known := append(parts, Fold(login), "lavka")
	for _, text := range []string{string(chars), letters.Replace(string(chars))} {
		if zxcvbn.PasswordStrength(text, known, matching.FilterL33tMatcher).Score < minScore {
			return badPassword(field, "is easy to guess; use a few unusual words or a password manager, and avoid the login, names, dates and keyboard rows")
		}
	}
	return nil
}

func badPassword(field, message string) error {
	return problem.InvalidFields(problem.Field{Field: field, Message: message})
}
