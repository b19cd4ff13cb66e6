package postgres

import "lavka/libs/service/lineage"

// Restored is what makes a restored schema safe to serve: its ids go on higher.
var Restored = lineage.Restored{Schema: Schema, Migrations: Migrations}
