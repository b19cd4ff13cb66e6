package httpapi

import (
	"encoding/json"
	"net/http"

	"lavka/services/auth/internal/keys"
)

// jwks is the public key set. Its own type makes it impossible to publish
// anything but public halves.
type jwks struct {
	Keys []keys.PublicKey `json:"keys"`
}

// VisitGetKeysResponse writes the set. A minute in caches is short beside the
// time between adding a key and promoting it.
func (s jwks) VisitGetKeysResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.WriteHeader(http.StatusOK)
	return json.NewEncoder(w).Encode(s)
}
