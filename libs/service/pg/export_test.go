package pg

// Waiting is the number of reads that wait for a round trip.
func (r *Reader) Waiting() int { return r.group.Waiting() }
