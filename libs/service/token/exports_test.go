package token

import "time"

const RefreshInterval = refreshInterval

// RefreshEvery has r, before Run, read the keys more often.
func (r *Remote) RefreshEvery(d time.Duration) { r.every = d }
