package httpapi

import (
	"context"

	"lavka/libs/domain/problem"
	"lavka/libs/service/httpserver"
	"lavka/services/auth/api"
)

// Activate answers GET /auth/activate/{token}, and HEAD, which activates no user:
// programs that look at links before people do send it.
func (h *Handlers) Activate(ctx context.Context, r api.ActivateRequestObject) (api.ActivateResponseObject, error) {
	follow := h.Users.Activate
	if httpserver.IsHead(ctx) {
		follow = h.Users.CheckLink
	}
	user, err := follow(ctx, r.Token)
	if err != nil {
		return nil, err
	}
	return api.Activate200JSONResponse{ActivatedJSONResponse: api.ActivatedJSONResponse{User: toUser(user)}}, nil
}

// ActivateByToken answers POST /auth/activate.
func (h *Handlers) ActivateByToken(ctx context.Context, r api.ActivateByTokenRequestObject) (api.ActivateByTokenResponseObject, error) {
	if err := problem.Require(problem.Member{Name: "token", Present: r.Body.Token != ""}); err != nil {
		return nil, err
	}
	user, err := h.Users.Activate(ctx, r.Body.Token)
	if err != nil {
		return nil, err
	}
	return api.ActivateByToken200JSONResponse{ActivatedJSONResponse: api.ActivatedJSONResponse{User: toUser(user)}}, nil
}

// NewActivation answers POST /auth/activation.
func (h *Handlers) NewActivation(ctx context.Context, r api.NewActivationRequestObject) (api.NewActivationResponseObject, error) {
	if err := requireCredentials(r.Body.Login, r.Body.Password); err != nil {
		return nil, err
	}
	token, err := h.Users.NewLink(ctx, r.Body.Login, r.Body.Password, client(ctx))
	if err != nil {
		return nil, err
	}
	if token == "" {
		return api.NewActivation202Response{}, nil
	}
	return api.NewActivation201JSONResponse{ActivationLink: h.Links.Activation(token)}, nil
}
