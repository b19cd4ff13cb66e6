package auth

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// phc is a parsed hash in the PHC string format:
// $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, hash   []byte
}

var errPHC = errors.New("the stored password hash can't be read")

func parsePHC(text string) (phc, error) {
	var p phc
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return p, fmt.Errorf("%w: %w", errPHC, err)
	}
	salt, saltErr := b64.DecodeString(parts[4])
	hash, hashErr := b64.DecodeString(parts[5])
	p.salt, p.hash = salt, hash
	if saltErr != nil || hashErr != nil || p.time < 1 || p.threads < 1 || len(p.hash) < 16 || p.memory > 1<<20 {
		return p, errPHC
	}
	return p, nil
}
