// Package api is auth's HTTP contract: openapi.yaml, and the server's types
// generated from it.
package api

import _ "embed"

//go:generate ../../../bin/oapi-codegen -config oapi-codegen.yaml openapi.yaml

// Contract is openapi.yaml, an OpenAPI 3.1 document.
//
//go:embed openapi.yaml
var Contract []byte
