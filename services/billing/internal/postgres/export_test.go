package postgres

import (
	"maps"
	"slices"
)

// Kinds are the conditions of the kinds of transactions.
var Kinds = slices.Collect(maps.Values(kinds))
