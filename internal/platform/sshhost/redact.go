// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"encoding/base64"
	"slices"
	"strings"
)

const redacted = "[secret removed]"

// redactor removes secrets from text that a person will read. It knows them by value.
type redactor struct {
	words   []string
	longest int
}

// shortestLine is the length below which a line of a secret of several lines
// is no secret by itself: an empty line, a closing brace.
const shortestLine = 8

func newRedactor(secrets []string) *redactor {
	r := &redactor{}
	for _, s := range secrets {
		r.add(s)
		for line := range strings.Lines(s) {
			// A program quotes the line that it does not understand.
			if line = strings.TrimSpace(line); len(line) >= shortestLine && !strings.HasPrefix(line, "-----") {
				r.add(line)
			}
		}
	}
	return r
}

func (r *redactor) add(s string) {
	if s == "" {
		return
	}
	for _, form := range []string{s, strings.TrimSpace(s), base64.StdEncoding.EncodeToString([]byte(s)), strings.ReplaceAll(s, "'", `'\''`)} {
		if form != "" && !slices.Contains(r.words, form) {
			r.words = append(r.words, form)
			r.longest = max(r.longest, len(form))
		}
	}
}

// with knows more secrets.
func (r *redactor) with(secrets []string) *redactor {
	more := newRedactor(secrets)
	return &redactor{words: append(slices.Clone(r.words), more.words...), longest: max(r.longest, more.longest)}
}

// cleanTail removes the secrets from the end of an output. Where its beginning was cut, the
// first bytes may be the rest of a secret that nobody can recognise: as many are dropped as
// the longest secret could have left.
func (r *redactor) cleanTail(s string, cut bool) string {
	secret := make([]bool, len(s))
	for _, w := range r.words {
		for from := 0; ; {
			i := strings.Index(s[from:], w)
			if i < 0 {
				break
			}
			for j := range len(w) {
				secret[from+i+j] = true
			}
			from += i + 1
		}
	}
	i := 0
	if cut && r.longest > 0 {
		i = min(r.longest-1, len(s))
		for i > 0 && i < len(s) && secret[i-1] && secret[i] {
			i++
		}
	}
	var out strings.Builder
	for i < len(s) {
		if !secret[i] {
			out.WriteByte(s[i])
			i++
			continue
		}
		out.WriteString(redacted)
		for i < len(s) && secret[i] {
			i++
		}
	}
	return out.String()
}
