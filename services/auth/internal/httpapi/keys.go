package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"lavka/services/auth/api"
	"lavka/services/auth/internal/keys"
)

// GetKeys answers GET /.well-known/jwks.json.
func (h *Handlers) GetKeys(context.Context, api.GetKeysRequestObject) (api.GetKeysResponseObject, error) {
	return jwks{Keys: h.keys.Public()}, nil
}

// jwks is the public key set. The type has no field for private keys, so they can't
// be published.
type jwks struct {
	Keys []keys.PublicKey `json:"keys"`
}

// VisitGetKeysResponse writes the set. Caches may keep it for a minute, which is
// short compared to the time between adding a key and promoting it.
func (s jwks) VisitGetKeysResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.WriteHeader(http.StatusOK)
	return json.NewEncoder(w).Encode(s)
}
