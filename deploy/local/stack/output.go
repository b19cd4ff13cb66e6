package stack

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// maxLine is the longest line of output, in bytes. Longer lines are cut.
const maxLine = 16 << 10

// sharedWriter serializes the writes of many to one writer.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write never fails: a closed terminal must not stop a service.
func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.w.Write(p)
	return len(p), nil
}

// Lines is a writer that prefixes each line with a name, and passes on only whole lines.
type Lines struct {
	to     io.Writer
	prefix string

	mu   sync.Mutex
	line []byte
	cut  bool
	last string
}

// NewLines returns a Lines that writes to to, which several may share.
func NewLines(to io.Writer, name string) *Lines {
	return &Lines{to: to, prefix: fmt.Sprintf("%-9s | ", name)}
}

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte("\n"))
		if room := maxLine - len(l.line); len(part) > room {
			part, l.cut = part[:room], true
		}
		l.line = append(l.line, part...)
		if ended {
			if err := l.flush(); err != nil {
				return 0, err
			}
		}
		rest = after
	}
	return len(p), nil
}

// Flush passes on an unfinished line.
func (l *Lines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.line) == 0 {
		return nil
	}
	return l.flush()
}

// Last returns the last line written.
func (l *Lines) Last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *Lines) flush() error {
	l.last = string(bytes.TrimSpace(l.line))
	out := append([]byte(l.prefix), bytes.TrimSuffix(l.line, []byte("\r"))...)
	if l.cut {
		out = append(out, " … (cut)"...)
	}
	l.line, l.cut = l.line[:0], false
	_, err := l.to.Write(append(out, '\n'))
	return err
}
