package httpapi

import (
	"context"

	"lavka/services/auth/api"
)

// Activate answers GET /auth/activate/{token}.
func (h *Handlers) Activate(ctx context.Context, r api.ActivateRequestObject) (api.ActivateResponseObject, error) {
	user, err := h.users.Activate(ctx, r.Token)
	if err != nil {
		return nil, err
	}
	return api.Activate200JSONResponse{User: toUser(user)}, nil
}

// NewActivation answers POST /auth/activation.
func (h *Handlers) NewActivation(ctx context.Context, r api.NewActivationRequestObject) (api.NewActivationResponseObject, error) {
	if err := requireCredentials(r.Body.Login, r.Body.Password); err != nil {
		return nil, err
	}
	token, err := h.users.NewLink(ctx, r.Body.Login, r.Body.Password, client(ctx))
	if err != nil {
		return nil, err
	}
	return api.NewActivation201JSONResponse{ActivationLink: h.link(token)}, nil
}

// link returns an activation link. It uses the configured PUBLIC_URL, never the
// request's Host header, which the client controls.
func (h *Handlers) link(token string) string { return h.publicURL + "/auth/activate/" + token }
