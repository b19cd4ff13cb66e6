package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go/matching"
	"github.com/ccojocar/zxcvbn-go/scoring"
	"golang.org/x/text/unicode/norm"

	"lavka/libs/domain/problem"
)

const (
	minPassword = 8   // characters
	maxPassword = 256 // bytes: 64 characters of any script
	// judged is how many keystrokes of a password are checked for strength: the time
	// grows faster than linearly with the length. A password is hard to guess if its
	// beginning is.
	judged = 32
)

// Strength is how hard to guess a new password must be, as a score of zxcvbn. At 0
// only the length counts.
type Strength int

// The strengths. The default is zxcvbn's "safely unguessable: moderate protection from
// an offline attack", over 10^8 guesses.
const (
	LengthAlone     Strength = 0
	DefaultStrength Strength = 3
	MaxStrength     Strength = 4
)

// Normalize returns the form in which passwords are checked and hashed, Unicode's NFKC
// (NIST SP 800-63B, section 5.1.1.2): an accented letter is one character on one system
// and two on another, and a full-width letter is a letter.
func Normalize(password string) string { return norm.NFKC.String(password) }

// letters undoes common substitutions. zxcvbn's own matcher tries every
// combination of them, which takes a second for 24 maliciously chosen characters.
var letters = strings.NewReplacer(
	"4", "a", "@", "a", "8", "b", "(", "c", "{", "c", "[", "c", "<", "c", "3", "e", "6", "g", "9", "g", "1", "l", "|", "l", "!", "i",
	"0", "o", "$", "s", "5", "s", "7", "t", "+", "t", "2", "z", "%", "x")

// cyrillic does the same for Cyrillic, where Latin letters that look alike are
// substitutions too.
var cyrillic = strings.NewReplacer(
	"@", "а", "0", "о", "3", "з", "4", "ч", "6", "б", "a", "а", "e", "е", "o", "о", "p", "р", "c", "с", "y", "у", "x", "х", "k", "к", "i", "і",
	"A", "А", "E", "Е", "O", "О", "P", "Р", "C", "С", "Y", "У", "X", "Х", "K", "К", "B", "В", "M", "М", "H", "Н", "T", "Т", "I", "І")

// checkPasswordForm returns a problem if a normalized password is too short or too
// long, or can't be sent in a request or typed. It is cheap, so it runs before
// [checkPasswordStrength].
func checkPasswordForm(password, field string) error {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return badPassword(field, "must have at least 8 characters")
	case len(password) > maxPassword:
		return badPassword(field, "must have at most 256 bytes")
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return badPassword(field, "must not have control characters, such as tabs and line breaks, and must be valid UTF-8")
	}
	return nil
}

// checkPasswordStrength returns a problem if a normalized password is easier to guess
// than wanted, also for a guesser who knows the login. It takes up to 30 ms.
func checkPasswordStrength(login, password, field string, want Strength) error {
	if want <= LengthAlone {
		return nil
	}
	parts := strings.FieldsFunc(Fold(login), func(r rune) bool { return strings.ContainsRune("._-@+", r) })
	var known []string
	for _, text := range append(parts, login, "lavka") {
		known = append(known, onlyASCII(keystrokes(text)))
	}
	readings := []string{password, letters.Replace(password)}
	if strings.ContainsFunc(password, func(r rune) bool { return unicode.Is(unicode.Cyrillic, r) }) {
		readings = append(readings, cyrillic.Replace(password))
	}
	for _, text := range readings {
		typed := keystrokes(text)
		typed = typed[:min(len(typed), judged)]
		keys := onlyASCII(typed)
		matches := append(matching.Omnimatch(keys, known, matching.FilterL33tMatcher), commonWords(typed)...)
		if Strength(scoring.MinimumEntropyMatchSequence(keys, matches).Score) < want {
			return badPassword(field, easyToGuess)
		}
	}
	return nil
}

// easyToGuess says what passes, whatever strength is wanted.
const easyToGuess = "is easy to guess: use four words that have nothing to do with each other, with spaces between them, or 16 random letters and digits; " +
	"common passwords, the login, names, dates and keyboard rows count for little"

func badPassword(field, message string) error {
	return problem.InvalidFields(problem.Field{Field: field, Message: message})
}
