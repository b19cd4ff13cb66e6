// Package api holds catalog's HTTP contract. The source is openapi.yaml; the
// server's types are generated from it.
package api

import _ "embed"

//go:generate ../../../bin/oapi-codegen -config oapi-codegen.yaml openapi.yaml

// Contract is the text of the OpenAPI 3.1 contract.
//
//go:embed openapi.yaml
var Contract []byte
