// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// longestLine bounds a line that is told while a command runs. A longer one is not: cut in two, it could
// show the halves of a secret.
const longestLine = 4 << 10

// lines is a writer that tells each line that it gets, without secrets, until it is shut.
type lines struct {
	io.Writer // what else gets all of it

	redact *redactor
	mu     struct {
		sync.Mutex
		tell func(string) // nil: shut
		rest []byte       // of a line that has no end yet
		long bool         // its beginning was dropped
	}
}

// Write implements io.Writer. It never fails by itself.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.tell != nil {
		l.mu.rest = append(l.mu.rest, p...)
		for {
			line, rest, ended := bytes.Cut(l.mu.rest, []byte("\n"))
			if len(line) > longestLine {
				l.mu.long, line = true, nil
			}
			if !ended {
				l.mu.rest = line
				break
			}
			text := strings.TrimSpace(strings.ToValidUTF8(l.redact.cleanTail(string(line), false), "?"))
			if !l.mu.long && text != "" {
				l.mu.tell(text)
			}
			l.mu.rest, l.mu.long = rest, false
		}
	}
	return l.Writer.Write(p)
}

// shut ends the telling: nothing of a command's is told once Run has returned.
func (l *lines) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.tell = nil
}
