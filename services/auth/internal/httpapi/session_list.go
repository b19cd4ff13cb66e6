package httpapi

import (
	"context"

	"lavka/libs/domain/problem"
	"lavka/services/auth/api"
)

// ListSessions answers GET /auth/sessions.
func (h *Handlers) ListSessions(ctx context.Context, _ api.ListSessionsRequestObject) (api.ListSessionsResponseObject, error) {
	open, err := h.Sessions.Open(ctx, user(ctx))
	if err != nil {
		return nil, err
	}
	current := caller(ctx).Session
	items := make([]api.Session, len(open))
	for i, s := range open {
		items[i] = api.Session{Id: s.ID, CreatedAt: s.StartedAt.UTC(), LastUsedAt: s.LastUsedAt.UTC(), Current: s.ID == current}
	}
	return api.ListSessions200JSONResponse{Items: items}, nil
}

// EndSession answers DELETE /auth/sessions/{id}.
func (h *Handlers) EndSession(ctx context.Context, r api.EndSessionRequestObject) (api.EndSessionResponseObject, error) {
	if err := h.Sessions.End(ctx, caller(ctx), r.Id); err != nil {
		return nil, err
	}
	return api.EndSession204Response{}, nil
}

// EndOtherSessions answers DELETE /auth/sessions?others=true. Without the parameter, a
// client might mean all of them.
func (h *Handlers) EndOtherSessions(ctx context.Context, r api.EndOtherSessionsRequestObject) (api.EndOtherSessionsResponseObject, error) {
	if !r.Params.Others.Valid() {
		return nil, problem.InvalidFields(problem.Field{Field: "others", Message: "must be true"})
	}
	if err := h.Sessions.EndOthers(ctx, caller(ctx)); err != nil {
		return nil, err
	}
	return api.EndOtherSessions204Response{}, nil
}

// EndUserSessions answers DELETE /users/{id}/sessions.
func (h *Handlers) EndUserSessions(ctx context.Context, r api.EndUserSessionsRequestObject) (api.EndUserSessionsResponseObject, error) {
	if err := h.Sessions.EndAll(ctx, caller(ctx), r.Id); err != nil {
		return nil, err
	}
	return api.EndUserSessions204Response{}, nil
}
