package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"lavka/libs/service/directhttp"
)

// settleAdmin finds out, once for each administrator, which password auth has. Auth keeps the first password it gets, which may be another one: from
// a run that was killed before it could record it, or from another shop on the same database.
func (s *Stack) settleAdmin(ctx context.Context) error {
	kept := s.secrets.Admins[s.AdminLogin]
	if kept.Created || slices.Contains(s.cfg.Without, Auth) {
		return nil
	}
	auth := s.replicas[Auth][0].URL()
	taken, err := logsIn(ctx, auth, s.AdminLogin, s.AdminPassword)
	switch {
	case err != nil:
	case taken && !s.AdminPasswordMadeUp:
		kept.Password = ""
	case taken:
	case s.AdminPasswordMadeUp:
		s.AdminPassword, s.AdminPasswordMadeUp, kept.Password = "", false, ""
	case kept.Password != "":
		if taken, err = logsIn(ctx, auth, s.AdminLogin, kept.Password); err == nil && !taken {
			kept.Password = ""
		}
	}
	if err != nil {
		s.cfg.Log.Warn("can't tell whether auth has accepted the administrator's password; checking again at the next start", "error", err)
		return nil
	}
	kept.Created = true
	s.secrets.Admins[s.AdminLogin] = kept
	return s.secrets.save(s.cfg.DataDir)
}

// logsIn reports whether a password is correct. It opens a session that is never used.
func logsIn(ctx context.Context, auth, login, password string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]string{"login": login, "password": password})
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, auth+"/auth/login", bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := directhttp.Client.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusForbidden: // 403 means that the password is correct, but the user may not log in
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	default:
		return false, fmt.Errorf("log in as %s: %s", login, resp.Status)
	}
}
