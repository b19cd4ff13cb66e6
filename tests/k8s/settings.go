package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// setting is a field of a service's configuration.
type setting struct {
	secret   bool
	fallback string // its default
}

// settingsOf reads the settings of a service from its source, since nobody can import a program.
func settingsOf(root, service string) (map[string]setting, error) {
	all := map[string]setting{}
	for _, file := range []string{"libs/service/config/config.go", "services/" + service + "/config.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
		if err != nil {
			return nil, err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			text, err := strconv.Unquote(field.Tag.Value)
			if name := reflect.StructTag(text).Get("envconfig"); err == nil && name != "" {
				kind := ""
				switch t := field.Type.(type) {
				case *ast.Ident:
					kind = t.Name
				case *ast.SelectorExpr:
					kind = t.Sel.Name
				}
				all[name] = setting{secret: kind == "Secret", fallback: reflect.StructTag(text).Get("default")}
			}
			return true
		})
	}
	if len(all) < 10 {
		return nil, fmt.Errorf("%s has only %d settings: something is not read", service, len(all))
	}
	return all, nil
}

// known says whether a name is a setting of a service, or of Go or OpenTelemetry.
func known(settings map[string]setting, name string) bool {
	if s, ok := settings[strings.TrimSuffix(name, "_FILE")]; ok && (s.secret || !strings.HasSuffix(name, "_FILE")) {
		return true
	}
	return name == "GOMEMLIMIT" || name == "GOGC" || strings.HasPrefix(name, "OTEL_")
}
