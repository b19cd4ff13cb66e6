// Package logtail reads the end of logs, for errors.
package logtail

import (
	"bytes"
	"os"
)

// Of returns the last lines of a log, or why it can't be read.
func Of(log string, lines int) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
