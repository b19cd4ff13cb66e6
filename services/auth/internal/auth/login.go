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

// CheckLogin is nil, or says what a login must be. Letters are those of ASCII:
// then "without regard to case" means the same to everybody, and no two logins
// look alike.
func CheckLogin(login string) error {
	if len(login) < minLogin || len(login) > maxLogin {
		return badLogin("must have from 3 to 64 characters")
	}
	for i := range len(login) {
		if letterOrDigit(login[i]) || (i > 0 && strings.IndexByte("._-@+", login[i]) >= 0) {
			continue
		}
		return badLogin("must be made of letters a-z, digits and . _ - @ + and start with a letter or digit")
	}
	return nil
}

// Fold gives the form in which two logins are the same.
func Fold(login string) string { return strings.ToLower(login) }

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func badLogin(message string) error {
	return problem.InvalidFields(problem.Field{Field: "login", Message: message})
}
