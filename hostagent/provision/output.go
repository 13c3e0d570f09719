// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"slices"
	"strings"
	"sync"
)

// tailBytes is how much of a command's output an error shows.
const tailBytes = 4096

// output keeps the end of what is written to it, with secrets taken out.
type output struct {
	unknown []string // names of secrets that could be in it and are not known
	secrets []string // none is empty
	extra   int      // bytes kept beyond tailBytes: a secret that is cut is found whole

	mu struct {
		sync.Mutex
		// Invariant: where bytes before it were dropped, it has tailBytes+extra at least.
		buf     []byte
		dropped bool
	}
}

func newOutput(g given) *output {
	o := &output{unknown: g.unknown, secrets: parts(g.secrets)}
	for _, s := range o.secrets {
		o.extra = max(o.extra, len(s))
	}
	return o
}

// Write implements io.Writer; it never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.buf = append(o.mu.buf, p...)
	if keep := tailBytes + o.extra; len(o.mu.buf) > 2*keep {
		o.mu.dropped = true
		o.mu.buf = append(o.mu.buf[:0], o.mu.buf[len(o.mu.buf)-keep:]...)
	}
	return len(p), nil
}

// String is the end of the output. What stands where bytes were dropped may be the rest
// of a secret whose beginning is gone: it is among the extra bytes, which are not shown.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.unknown) > 0 && len(o.mu.buf) > 0 {
		return "(not shown: the secret " + strings.Join(o.unknown, ", ") + " could be in it, and is not known any more)"
	}
	from := max(0, len(o.mu.buf)-tailBytes)
	s := strings.ToValidUTF8(mask(string(o.mu.buf), from, o.secrets), "?")
	if from > 0 || o.mu.dropped {
		s = "… " + s
	}
	return strings.TrimSpace(s)
}

// parts are the secrets and the lines of those that have several, longest first.
func parts(secrets []string) []string {
	const shortest = 4 // of a line: a closing brace is no secret
	var all []string
	for _, s := range secrets {
		all = append(all, s, strings.TrimSpace(s))
		if lines := strings.Split(s, "\n"); len(lines) > 1 {
			for _, l := range lines {
				if l = strings.TrimSpace(l); len(l) >= shortest {
					all = append(all, l)
				}
			}
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

// redact takes secrets out of a text.
func redact(text string, secrets []string) string { return mask(text, 0, parts(secrets)) }

// mask returns text from an offset on, without secrets. One that reaches over the
// offset is taken out whole, and so is the beginning of one at the end of the text,
// where a command was killed while it wrote.
func mask(text string, from int, secrets []string) string {
	const shortestBeginning = 4
	hide := make([]bool, len(text))
	set := func(at, n int) {
		for i := at; i < at+n; i++ {
			hide[i] = true
		}
	}
	for _, s := range secrets {
		for at := 0; ; at++ {
			i := strings.Index(text[at:], s)
			if i < 0 {
				break
			}
			at += i
			set(at, len(s))
		}
		for n := min(len(s)-1, len(text)); n >= shortestBeginning; n-- {
			if strings.HasSuffix(text, s[:n]) {
				set(len(text)-n, n)
				break
			}
		}
	}
	var b strings.Builder
	for i := from; i < len(text); i++ {
		switch {
		case !hide[i]:
			b.WriteByte(text[i])
		case i == from || !hide[i-1]:
			b.WriteString(hidden)
		}
	}
	return b.String()
}
