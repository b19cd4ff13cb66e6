package httpapi

import (
	"context"
	"unicode/utf8"

	"lavka/libs/domain/problem"
	"lavka/libs/service/page"
	"lavka/services/auth/api"
	"lavka/services/auth/internal/auth"
)

// Register answers POST /auth/register.
func (h *Handlers) Register(ctx context.Context, r api.RegisterRequestObject) (api.RegisterResponseObject, error) {
	if err := requireCredentials(r.Body.Login, r.Body.Password); err != nil {
		return nil, err
	}
	user, token, err := h.Users.Register(ctx, r.Body.Login, r.Body.Password, client(ctx))
	if err != nil {
		return nil, err
	}
	var activationLink *string // not shown if it is sent
	if token != "" {
		activationLink = new(h.Links.Activation(token))
	}
	return api.Register201JSONResponse{User: toUser(user), ActivationLink: activationLink}, nil
}

// GetMe answers GET /users/me.
func (h *Handlers) GetMe(ctx context.Context, _ api.GetMeRequestObject) (api.GetMeResponseObject, error) {
	return api.GetMe200JSONResponse{OneUserJSONResponse: api.OneUserJSONResponse(toUser(user(ctx)))}, nil
}

// GetUser answers GET /users/{id}.
func (h *Handlers) GetUser(ctx context.Context, r api.GetUserRequestObject) (api.GetUserResponseObject, error) {
	user, err := h.Users.Get(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	return api.GetUser200JSONResponse{OneUserJSONResponse: api.OneUserJSONResponse(toUser(user))}, nil
}

// PatchUser answers PATCH /users/{id}.
func (h *Handlers) PatchUser(ctx context.Context, r api.PatchUserRequestObject) (api.PatchUserResponseObject, error) {
	if err := problem.Require(problem.Member{Name: "enabled", Present: r.Body.Enabled != nil}); err != nil {
		return nil, err
	}
	user, err := h.Users.SetEnabled(ctx, caller(ctx), r.Id, *r.Body.Enabled)
	if err != nil {
		return nil, err
	}
	return api.PatchUser200JSONResponse{OneUserJSONResponse: api.OneUserJSONResponse(toUser(user))}, nil
}

const usersList = "users"

type usersKey struct {
	ID int64 `json:"id"`
}

// ListUsers answers GET /users.
func (h *Handlers) ListUsers(ctx context.Context, r api.ListUsersRequestObject) (api.ListUsersResponseObject, error) {
	filter, err := toFilter(r.Params)
	if err != nil {
		return nil, err
	}
	limit, err := page.Limit(r.Params.Limit)
	if err != nil {
		return nil, err
	}
	cursor, err := page.Decode[usersKey](usersList, r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	var below *int64
	if cursor != nil {
		below = &cursor.ID
	}
	users, err := h.Users.List(ctx, filter, below, limit+1)
	if err != nil {
		return nil, err
	}
	return respond(page.Cut(ctx, usersList, users, limit, func(u auth.User) any { return usersKey{u.ID} }, toUser))
}

func toFilter(p api.ListUsersParams) (auth.Filter, error) {
	var f auth.Filter
	if p.Status != nil {
		if !p.Status.Valid() {
			return f, problem.InvalidFields(problem.Field{Field: "status", Message: "must be inactive, active or disabled"})
		}
		f.Status = auth.Status(*p.Status)
	}
	if p.Login != nil {
		if utf8.RuneCountInString(*p.Login) > 64 {
			return f, problem.InvalidFields(problem.Field{Field: "login", Message: "must have at most 64 characters"})
		}
		f.Login = *p.Login
	}
	return f, nil
}

func toUser(u auth.User) api.User {
	return api.User{Id: u.ID, Login: u.Login, Role: string(u.Role), Status: string(u.Status()), CreatedAt: u.CreatedAt.UTC()}
}
