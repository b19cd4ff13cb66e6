package httpapi

import (
	"strconv"
	"strings"
	"time"

	"lavka/services/catalog/internal/catalog"
)

// preferredWait returns the time of the preference wait (RFC 7240, section 4.3), at most
// catalog.MaxWatch, and 0 if there is none. A preference that can't be read is ignored,
// as the RFC asks for; of several, the first counts.
func preferredWait(header *string) time.Duration {
	if header == nil {
		return 0
	}
	for preference := range strings.SplitSeq(*header, ",") {
		preference, _, _ = strings.Cut(preference, ";") // its parameters
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, catalog.MaxWatch)
	}
	return 0
}
