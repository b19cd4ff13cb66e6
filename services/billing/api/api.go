// Package api is the HTTP contract of billing: openapi.yaml is the source, and the
// server's types are generated from it.
package api

import _ "embed"

//go:generate ../../../bin/oapi-codegen -config oapi-codegen.yaml openapi.yaml

// Contract is the text of the OpenAPI 3.1 contract.
//
//go:embed openapi.yaml
var Contract []byte
