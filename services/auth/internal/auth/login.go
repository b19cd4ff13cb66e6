package auth

import (
	"strings"

	"lavka/libs/domain/problem"
)

// The bounds of a login, in characters.
const (
	minLogin = 3
	maxLogin = 64
)

// CheckLogin returns a problem if a login is not valid. Only ASCII letters are
// allowed: case folding is then unambiguous, and no two logins look alike.
func CheckLogin(login string) error {
	if len(login) < minLogin || len(login) > maxLogin {
		return badLogin("must have 3 to 64 characters")
	}
	for i := range len(login) {
		if letterOrDigit(login[i]) || (i > 0 && strings.IndexByte("._-@+", login[i]) >= 0) {
			continue
		}
		return badLogin("must consist of letters a-z, digits and . _ - @ +, and start with a letter or digit")
	}
	return nil
}

// Fold returns the form in which logins are compared, which is not case-sensitive. It
// changes ASCII letters only, as logins have no others: the Kelvin sign is no k.
func Fold(login string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, login)
}

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func badLogin(message string) error {
	return problem.InvalidFields(problem.Field{Field: "login", Message: message})
}
