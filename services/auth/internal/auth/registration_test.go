package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"lavka/libs/testkit/waittest"
)

// userStore keeps logins. Its other methods are not used.
type userStore struct {
	UserStore
	mu     sync.Mutex
	logins map[string]bool
	asked  int // calls of LoginTaken
}

func (s *userStore) LoginTaken(_ context.Context, login string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.logins[Fold(login)], nil
}

func (s *userStore) Register(_ context.Context, user NewUser, _ *Link) (User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins[Fold(user.Login)] {
		return User{}, ErrLoginTaken
	}
	s.logins[Fold(user.Login)] = true
	return User{ID: 1, Login: user.Login}, nil
}

func newUsers(t *testing.T) (*Users, *userStore, *Hasher) {
	t.Helper()
	store, hasher := &userStore{logins: map[string]bool{}}, newHasher(2)
	throttle, _ := newThrottle(t)
	return NewUsers(store, NewCredentials(credentialStore{}, hasher, throttle, DefaultStrength), time.Hour, func() {}, nil), store, hasher
}

const newPassword = "violet tram 77 lamps"

// One login that is registered many times at once is hashed once. All others are
// told that it is taken.
func TestOneLoginIsHashedOnce(t *testing.T) {
	t.Parallel()
	users, store, hasher := newUsers(t)
	ends := []func(){hasher.hold(t), hasher.hold(t)}
	const n = 50
	results := make(chan error, n)
	for i := range n {
		go func() {
			_, _, err := users.Register(t.Context(), []string{"anna", "Anna", "ANNA"}[i%3], newPassword, fmt.Sprint("192.0.2.", i))
			results <- err
		}()
	}
	waittest.Eventually(t, "one waits for its turn and the others for it", func() bool {
		users.registrations.mu.Lock()
		defer users.registrations.mu.Unlock()
		return hasher.Waiting() == 1 && len(users.registrations.waiting["anna"]) == n-1
	})
	ends[0]()
	ok := 0
	for range n {
		switch err := <-results; {
		case err == nil:
			ok++
		case !errors.Is(err, ErrLoginTaken):
			t.Errorf("%v, want ErrLoginTaken", err)
		}
	}
	if ok != 1 || store.asked != 2 {
		t.Errorf("%d were registered, and the database was asked %d times", ok, store.asked)
	}
	// Later ones don't wait for a turn either.
	ends[0] = hasher.hold(t)
	if _, _, err := users.Register(t.Context(), "aNNa", newPassword, "192.0.2.1"); !errors.Is(err, ErrLoginTaken) {
		t.Errorf("%v", err)
	}
	for _, end := range ends {
		end()
	}
	if len(users.registrations.waiting) != 0 {
		t.Error("finished registrations are remembered")
	}
}

// A login that another replica takes while the request waits for its turn is not
// hashed.
func TestALoginIsTakenDuringTheWait(t *testing.T) {
	t.Parallel()
	users, store, hasher := newUsers(t)
	ends := []func(){hasher.hold(t), hasher.hold(t)}
	result := make(chan error, 1)
	go func() {
		// The check of the strength, which comes before the hash, would refuse this password.
		_, _, err := users.Register(t.Context(), "anna", "password", "192.0.2.1")
		result <- err
	}()
	waittest.Eventually(t, "it waits", func() bool { return hasher.Waiting() == 1 })
	store.mu.Lock()
	store.logins["anna"] = true
	store.mu.Unlock()
	for _, end := range ends {
		end()
	}
	if err := <-result; !errors.Is(err, ErrLoginTaken) {
		t.Errorf("%v", err)
	}
}

// A registration that fails lets the next one try.
func TestTheNextRegistrationTries(t *testing.T) {
	t.Parallel()
	var r registrations
	refused := errors.New("refused")
	started, results := make(chan int, 4), make(chan error, 4)
	goOn := make(chan error)
	run := func(ctx context.Context, i int) {
		go func() {
			results <- r.do(ctx, "anna", func() error {
				started <- i
				return <-goOn
			})
		}()
	}
	waits := func(n int) {
		t.Helper()
		waittest.Eventually(t, fmt.Sprint(n, " wait"), func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.waiting["anna"]) == n
		})
	}
	run(t.Context(), 1)
	<-started
	ctx, leave := context.WithCancel(t.Context())
	run(ctx, 2)
	waits(1)
	run(t.Context(), 3)
	waits(2)
	run(t.Context(), 4)
	waits(3)
	if err := r.do(t.Context(), "bert", func() error { return nil }); err != nil {
		t.Errorf("another login: %v", err)
	}
	leave()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
	goOn <- refused
	if err := <-results; !errors.Is(err, refused) {
		t.Errorf("the first: %v", err)
	}
	if i := <-started; i != 3 {
		t.Errorf("%d is next", i)
	}
	goOn <- nil
	got := []error{<-results, <-results}
	if !errors.Is(errors.Join(got...), ErrLoginTaken) || got[0] != nil && got[1] != nil {
		t.Errorf("the others: %v", got)
	}
	if len(r.waiting) != 0 {
		t.Error("finished registrations are remembered")
	}
}
