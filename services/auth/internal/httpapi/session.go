package httpapi

import (
	"context"
	"log/slog"

	"lavka/libs/domain/problem"
	"lavka/libs/service/telemetry"
	"lavka/services/auth/api"
	"lavka/services/auth/internal/auth"
)

// Login answers POST /auth/login.
func (h *Handlers) Login(ctx context.Context, r api.LoginRequestObject) (api.LoginResponseObject, error) {
	if err := requireCredentials(r.Body.Login, r.Body.Password); err != nil {
		return nil, err
	}
	pair, err := h.Sessions.Login(ctx, r.Body.Login, r.Body.Password, client(ctx))
	err = ended(ctx, err)
	h.note(ctx, err)
	if err != nil {
		return nil, err
	}
	return api.Login200JSONResponse{NewTokensJSONResponse: h.tokens(pair)}, nil
}

// Refresh answers POST /auth/refresh.
func (h *Handlers) Refresh(ctx context.Context, r api.RefreshRequestObject) (api.RefreshResponseObject, error) {
	if err := problem.Require(problem.Member{Name: "refresh_token", Present: r.Body.RefreshToken != ""}); err != nil {
		return nil, err
	}
	pair, err := h.Sessions.Refresh(ctx, r.Body.RefreshToken)
	if err != nil {
		return nil, err
	}
	return api.Refresh200JSONResponse{NewTokensJSONResponse: h.tokens(pair)}, nil
}

// Logout answers POST /auth/logout.
func (h *Handlers) Logout(ctx context.Context, r api.LogoutRequestObject) (api.LogoutResponseObject, error) {
	if err := problem.Require(problem.Member{Name: "refresh_token", Present: r.Body.RefreshToken != ""}); err != nil {
		return nil, err
	}
	if err := h.Sessions.Logout(ctx, caller(ctx), r.Body.RefreshToken); err != nil {
		return nil, err
	}
	return api.Logout204Response{}, nil
}

// ChangePassword answers POST /auth/password.
func (h *Handlers) ChangePassword(ctx context.Context, r api.ChangePasswordRequestObject) (api.ChangePasswordResponseObject, error) {
	err := problem.Require(
		problem.Member{Name: "old_password", Present: r.Body.OldPassword != ""},
		problem.Member{Name: "new_password", Present: r.Body.NewPassword != ""},
	)
	if err != nil {
		return nil, err
	}
	if err := h.Sessions.ChangePassword(ctx, caller(ctx), r.Body.OldPassword, r.Body.NewPassword, client(ctx)); err != nil {
		return nil, err
	}
	return api.ChangePassword204Response{}, nil
}

func (h *Handlers) tokens(p auth.Pair) api.NewTokensJSONResponse {
	return api.NewTokensJSONResponse{
		Headers: api.NewTokensResponseHeaders{CacheControl: "no-store"},
		Body: api.Tokens{
			AccessToken: p.Access, TokenType: "Bearer", ExpiresIn: int(h.TokenLifetime.Seconds()), RefreshToken: p.Refresh,
		},
	}
}

// note counts a login by its outcome, and adds the outcome to the log line and the
// span of the request.
func (h *Handlers) note(ctx context.Context, err error) {
	outcome := "ok"
	if err != nil {
		outcome = problem.From(err).Code
	}
	h.Metrics.Login(outcome)
	telemetry.Note(ctx, slog.String("outcome", outcome))
}
