package problem_test

import (
	"errors"
	"fmt"
	"testing"

	"lavka/libs/domain/problem"
)

func TestErrorsCompareByCode(t *testing.T) {
	t.Parallel()
	missing := problem.New(problem.NotFound, "product_not_found", "no such product")
	err := fmt.Errorf("read: %w", missing.With("id", 1).Because(errors.New("no rows")))
	if !errors.Is(err, missing) {
		t.Error("a copy of a problem is not the problem")
	}
	if errors.Is(err, problem.New(problem.NotFound, "bill_not_found", "")) {
		t.Error("two codes are one")
	}
}

func TestRequireNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	err := problem.Require(problem.Member{Name: "login", Present: true}, problem.Member{Name: "password"})
	p := problem.From(err)
	if p.Code != "validation_failed" || p.Kind != problem.Invalid || len(p.Fields) != 1 || p.Fields[0] != (problem.Field{Field: "password", Message: "is required"}) {
		t.Errorf("%+v", p)
	}
	if err := problem.Require(problem.Member{Name: "login", Present: true}); err != nil {
		t.Errorf("nothing is missing, and yet: %v", err)
	}
}
