package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"time"

	"lavka/libs/service/directhttp"
	"lavka/libs/service/standardwebhooks"
	"lavka/tests/faults/history"
)

// Target is the shop under load.
type Target struct {
	Gateway                   string
	Billing, Catalog          []string // the replicas' own addresses
	PaymentKey                string
	SigningKey                standardwebhooks.Key // of reversals
	AdminLogin, AdminPassword string
}

// Account is a user who can log in.
type Account struct {
	ID              int64
	Login, password string

	mu    sync.Mutex
	token string
	from  time.Duration // when the login that returned the token began
}

func (a *Account) current() (token string, from time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token, a.from
}

// Accounts are the users of a shop: the buyers, the suspect, who is repeatedly
// disabled, the member, who has several devices, and the administrator.
type Accounts struct {
	Buyers  []*Account
	Suspect *Account
	Member  *Member
	Admin   *Account

	target Target
	c      *client
}

const password = "correct-horse-battery-staple-7"

// Register creates the users of a shop and logs them in.
func Register(ctx context.Context, t Target, rec *history.Recorder, buyers int) (*Accounts, error) {
	if t.Gateway == "" || len(t.Billing) == 0 || len(t.Catalog) == 0 || t.PaymentKey == "" || reflect.ValueOf(t.SigningKey).IsZero() || t.AdminPassword == "" {
		return nil, errors.New("a shop to load needs addresses, both payment keys and an admin")
	}
	a := &Accounts{target: t, c: &client{rec: rec, hc: newHTTPClient()}}
	for i := range buyers + 1 {
		u, err := a.register(ctx, fmt.Sprintf("buyer-%d", i+1))
		if err != nil {
			return nil, err
		}
		if i == buyers {
			a.Suspect = u
		} else {
			a.Buyers = append(a.Buyers, u)
		}
	}
	member, err := a.register(ctx, "member")
	if err != nil {
		return nil, err
	}
	a.Member = &Member{Account: member}
	a.Admin = &Account{Login: t.AdminLogin, password: t.AdminPassword}
	return a, a.Refresh(ctx)
}

// Add registers one more user of the shop and logs them in. Refresh leaves them out.
func (a *Accounts) Add(ctx context.Context, login string) (*Account, error) {
	u, err := a.register(ctx, login)
	if err != nil {
		return nil, err
	}
	return u, a.LogIn(ctx, a.c.rec, u)
}

func (a *Accounts) register(ctx context.Context, login string) (*Account, error) {
	u := &Account{Login: login, password: password}
	call, r, raw := a.c.call(ctx, "POST", a.target.Gateway+"/auth/register", "", map[string]string{"login": login, "password": password})
	if call.Status != http.StatusCreated {
		return nil, fmt.Errorf("register %s: %d %s %s", login, call.Status, raw, call.Failure)
	}
	u.ID = r.User.ID
	link, err := url.Parse(r.ActivationLink)
	if err != nil {
		return nil, err
	}
	if call, _, raw := a.c.call(ctx, "GET", a.target.Gateway+link.Path, "", nil); call.Status != http.StatusOK {
		return nil, fmt.Errorf("activate %s: %d %s %s", login, call.Status, raw, call.Failure)
	}
	return u, nil
}

// Refresh logs all users in again, so that their tokens stay valid for the next
// minutes.
func (a *Accounts) Refresh(ctx context.Context) error {
	for _, u := range append([]*Account{a.Admin, a.Suspect}, a.Buyers...) {
		if call, raw := a.login(ctx, a.c, u); call.Status != http.StatusOK {
			return fmt.Errorf("log in %s: %d %s %s", u.Login, call.Status, raw, call.Failure)
		}
	}
	return nil
}

func (a *Accounts) login(ctx context.Context, c *client, u *Account) (history.Call, []byte) {
	call, r, raw := c.call(ctx, "POST", a.target.Gateway+"/auth/login", "", map[string]string{"login": u.Login, "password": u.password})
	if call.Status == http.StatusOK {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.token, u.from = r.AccessToken, call.Start
	}
	return call, raw
}

// refused reports whether a replica refused the account's token: its clock may be wrong,
// or that of the replica which issued the token. Every second refusal, at random, logs the
// account in again. In a fixed order, clients and the gateway, which takes the replicas in
// turn, could keep in step: each token would reach the one replica that does not accept it.
func (a *Accounts) refused(ctx context.Context, c *client, u *Account, call history.Call) bool {
	if call.Status != http.StatusUnauthorized {
		return false
	}
	if rand.IntN(2) == 0 {
		a.login(context.WithoutCancel(ctx), c, u)
	}
	return true
}

// Token returns the account's current access token.
func (a *Account) Token() string {
	token, _ := a.current()
	return token
}

func newHTTPClient() *http.Client {
	t := directhttp.Transport()
	t.MaxIdleConnsPerHost = 64
	return &http.Client{Transport: t}
}

func id(raw []byte) (int64, error) {
	var n numbered
	err := json.Unmarshal(raw, &n)
	return n.ID, err
}

// LogIn logs a user in again.
func (a *Accounts) LogIn(ctx context.Context, rec *history.Recorder, u *Account) error {
	if call, raw := a.login(ctx, &client{rec: rec, hc: a.c.hc}, u); call.Status != http.StatusOK {
		return fmt.Errorf("%d %s %s", call.Status, raw, call.Failure)
	}
	return nil
}
