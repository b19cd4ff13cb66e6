package catalog

import (
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"lavka/libs/domain/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func code(err error) string {
	if err == nil {
		return ""
	}
	return problem.From(err).Code
}

func id(n byte) uuid.UUID { return uuid.UUID{15: n} }
