package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Restart migrates the schema of a service with the binary that is now in BinDir, and then restarts the service's replicas with it, one after
// another. It returns when they are ready. If the migration fails, the old processes keep running. A replica that does not become ready stays
// down until a later Restart.
func (s *Stack) Restart(ctx context.Context, service string) error {
	if err := known(service); err != nil {
		return err
	}
	if slices.Contains(s.cfg.Without, service) {
		return fmt.Errorf("this shop was started without %s: restart it where you started it", service)
	}
	s.restarting.Lock()
	defer s.restarting.Unlock()
	if s.stopping {
		return errStopping
	}
	if err := s.asOwner(ctx, service, "migrate"); err != nil {
		return fmt.Errorf("%w (the old process keeps running)", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	for _, r := range s.replicas[service] {
		if err := r.Restart(ctx); err != nil {
			return fmt.Errorf("%w (%s is down until a restart succeeds)", err, r.Name)
		}
	}
	return nil
}

var errStopping = errors.New("the shop is stopping")

// endRestarts waits for a restart in flight, and refuses later ones: a process that
// starts while the shop stops would outlive its database.
func (s *Stack) endRestarts() {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	s.stopping = true
}

func known(service string) error {
	if !slices.Contains(Services(), service) {
		return fmt.Errorf("unknown service %q; the services are %s", service, strings.Join(Services(), ", "))
	}
	return nil
}
