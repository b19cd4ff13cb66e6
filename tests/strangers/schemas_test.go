package strangers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// schemas are the schemas of a contract's components, and what was read of them.
type schemas struct {
	defs     object
	resolved map[string]*jsonschema.Resolved // by the text of a schema that refers to defs
}

// of follows a reference between schemas.
func (s *schemas) of(v any) object {
	o, _ := v.(object)
	for o != nil && o["$ref"] != nil {
		o, _ = s.defs[strings.TrimPrefix(o["$ref"].(string), "#/$defs/")].(object)
	}
	return o
}

// valid validates a value against a schema.
func (s *schemas) valid(schema, value any) error {
	key, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	r := s.resolved[string(key)]
	if r == nil {
		text, err := json.Marshal(object{"$defs": s.defs, "allOf": []any{schema}})
		if err != nil {
			return err
		}
		var read jsonschema.Schema
		if err := json.Unmarshal(text, &read); err != nil {
			return fmt.Errorf("read the schema: %w", err)
		}
		if r, err = read.Resolve(nil); err != nil {
			return fmt.Errorf("resolve the schema: %w", err)
		}
		s.resolved[string(key)] = r
	}
	if err := r.Validate(numbers(value)); err != nil {
		return err
	}
	return s.formats(schema, value, "")
}

// numbers copies a value with its numbers as Go's, which jsonschema-go expects. What
// an int64 can't hold is rounded; formats sees it as it is written.
func numbers(value any) any {
	switch v := value.(type) {
	case object:
		c := object{}
		for name, member := range v {
			c[name] = numbers(member)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = numbers(v[i])
		}
		return c
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // the largest one, if it is out of range
		return max(-math.MaxFloat64, min(f, math.MaxFloat64))
	}
	return value
}

// formats checks what jsonschema-go leaves out.
func (s *schemas) formats(schema, value any, at string) error {
	o := s.of(schema)
	switch v := value.(type) {
	case object:
		properties, _ := o["properties"].(object)
		for name, member := range v {
			if err := s.formats(properties[name], member, at+"/"+name); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range v {
			if err := s.formats(o["items"], item, fmt.Sprint(at, "/", i)); err != nil {
				return err
			}
		}
	case string:
		var err error
		switch o["format"] {
		case "date-time":
			_, err = time.Parse(time.RFC3339Nano, v)
		case "uri":
			var u *url.URL
			if u, err = url.Parse(v); err == nil && !u.IsAbs() {
				err = errors.New("not absolute")
			}
		case "uuid":
			if !uuidForm.MatchString(v) {
				err = errors.New("not a UUID")
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %q is not a %s: %w", at, v, o["format"], err)
		}
	case json.Number:
		if o["format"] != "int64" {
			return nil
		}
		if n, ok := new(big.Rat).SetString(v.String()); !ok || !n.IsInt() || !n.Num().IsInt64() {
			return fmt.Errorf("%s: %s is not an int64", at, v)
		}
	}
	return nil
}

// exact checks that amounts in an answer have at most two decimals and no exponent.
func (s *schemas) exact(schema, value any) error {
	o := s.of(schema)
	switch v := value.(type) {
	case object:
		properties, _ := o["properties"].(object)
		for name, member := range v {
			if err := s.exact(properties[name], member); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case []any:
		for _, item := range v {
			if err := s.exact(o["items"], item); err != nil {
				return err
			}
		}
	case json.Number:
		if o["format"] == "double" && !moneyForm.MatchString(v.String()) {
			return fmt.Errorf("the amount %s", v)
		}
	}
	return nil
}

// closed copies schemas so that they forbid what they do not describe.
func closed(v any) any {
	switch v := v.(type) {
	case object:
		c := object{}
		for name, member := range v {
			c[name] = closed(member)
		}
		if _, ok := v["properties"]; ok && v["type"] == "object" {
			c["additionalProperties"] = false
		}
		if known, ok := v["x-extensible-enum"]; ok {
			c["enum"] = known
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = closed(v[i])
		}
		return c
	}
	return v
}

// local copies schemas so that references to components are references to $defs.
func local(v any) any {
	switch v := v.(type) {
	case object:
		c := object{}
		for name, member := range v {
			if name == "examples" || name == "example" {
				continue
			}
			c[name] = local(member)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = local(v[i])
		}
		return c
	case string:
		return strings.Replace(v, "#/components/schemas/", "#/$defs/", 1)
	}
	return v
}
