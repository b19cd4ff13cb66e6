package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

func (s *story) lostPhone(ctx context.Context) error {
	laptop, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodPost, path: "/auth/login", body: s.mira})
	if err != nil {
		return err
	}
	phone, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodPost, path: "/auth/login", body: s.mira})
	if err != nil {
		return err
	}
	a, err := s.expect(ctx, http.StatusOK, "", call{method: http.MethodGet, path: "/auth/sessions", token: phone.text("access_token")})
	if err != nil {
		return err
	}
	id := ""
	for _, session := range a.items() {
		if session["current"] == true {
			id = textOf(session["id"])
		}
	}
	if _, err := s.expect(ctx, http.StatusNoContent, "", call{method: http.MethodDelete, path: "/auth/sessions/" + id, token: laptop.text("access_token")}); err != nil {
		return err
	}
	if _, _, err := s.await(ctx, http.StatusUnauthorized, "token_invalid", call{method: http.MethodGet, path: "/products", token: phone.text("access_token")}); err != nil {
		return err
	}
	refresh := func(device answer) call {
		return call{method: http.MethodPost, path: "/auth/refresh", body: map[string]any{"refresh_token": device.text("refresh_token")}}
	}
	if _, err := s.expect(ctx, http.StatusUnauthorized, "refresh_token_invalid", refresh(phone)); err != nil {
		return err
	}
	a, err = s.expect(ctx, http.StatusOK, "", refresh(laptop))
	s.token = a.text("access_token")
	return err
}

func (s *story) forgotten(ctx context.Context) error {
	a, err := s.expect(ctx, http.StatusCreated, "", call{method: http.MethodPost, path: "/users/" + s.userID + "/password-reset", token: s.adminToken})
	if err != nil {
		return err
	}
	_, token, ok := strings.Cut(a.text("link"), "#token=")
	if !ok {
		return errors.New("the link has no token")
	}
	before := s.mira
	s.mira.Password = "loud river, mown grass"
	confirm := call{method: http.MethodPost, path: "/auth/password-reset/confirm", body: map[string]any{"token": token, "new_password": s.mira.Password}}
	if _, err := s.expect(ctx, http.StatusNoContent, "", confirm); err != nil {
		return err
	}
	if _, err := s.expect(ctx, http.StatusNotFound, "reset_not_found", confirm); err != nil {
		return fmt.Errorf("the link works twice: %w", err)
	}
	if _, err := s.expect(ctx, http.StatusUnauthorized, "invalid_credentials", call{method: http.MethodPost, path: "/auth/login", body: before}); err != nil {
		return err
	}
	s.token, err = s.login(ctx, s.mira)
	return err
}
