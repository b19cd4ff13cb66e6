package check

// logged checks invariant (n): the admins' log has an entry for each change of a
// product or a user, and no entry for a change that was not made.
func (j *judge) logged() {
	for _, l := range j.books.Logged {
		if l.Changes != l.Entries {
			j.report("n", "log of "+l.Subject, "%s was changed %d times, and the admins' log has %d entries", l.Subject, l.Changes, l.Entries)
		}
	}
}
