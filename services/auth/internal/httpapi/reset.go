package httpapi

import (
	"context"

	"lavka/libs/domain/problem"
	"lavka/services/auth/api"
)

// RequestPasswordReset answers POST /auth/password-reset.
func (h *Handlers) RequestPasswordReset(ctx context.Context, r api.RequestPasswordResetRequestObject) (api.RequestPasswordResetResponseObject, error) {
	if err := problem.Require(problem.Member{Name: "login", Present: r.Body.Login != ""}); err != nil {
		return nil, err
	}
	if err := h.Resets.Request(ctx, r.Body.Login, client(ctx)); err != nil {
		return nil, err
	}
	return api.RequestPasswordReset202Response{}, nil
}

// ConfirmPasswordReset answers POST /auth/password-reset/confirm.
func (h *Handlers) ConfirmPasswordReset(ctx context.Context, r api.ConfirmPasswordResetRequestObject) (api.ConfirmPasswordResetResponseObject, error) {
	err := problem.Require(
		problem.Member{Name: "token", Present: r.Body.Token != ""},
		problem.Member{Name: "new_password", Present: r.Body.NewPassword != ""},
	)
	if err != nil {
		return nil, err
	}
	if err := h.Resets.Confirm(ctx, r.Body.Token, r.Body.NewPassword, client(ctx)); err != nil {
		return nil, err
	}
	return api.ConfirmPasswordReset204Response{}, nil
}

// NewPasswordReset answers POST /users/{id}/password-reset.
func (h *Handlers) NewPasswordReset(ctx context.Context, r api.NewPasswordResetRequestObject) (api.NewPasswordResetResponseObject, error) {
	token, err := h.Resets.NewLink(ctx, caller(ctx), r.Id)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return api.NewPasswordReset202Response{}, nil
	}
	return api.NewPasswordReset201JSONResponse{Link: h.Links.Reset(token)}, nil
}
