// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"fmt"
	"strconv"
	"strings"
)

// answer is what one of the scripts said, by key.
type answer map[string]string

const answerMark = "holdfast: "

// Answer reads what a script said in lines "holdfast: key=value", by key: the scripts of
// others may speak as those of this package do.
func Answer(out []byte) map[string]string { return parseAnswer(out) }

// parseAnswer reads the lines "holdfast: key=value". Others come from the
// start-up files of the login shell and are skipped.
func parseAnswer(out []byte) answer {
	a := answer{}
	for line := range strings.Lines(string(out)) {
		line, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), answerMark)
		key, value, found := strings.Cut(line, "=")
		if ok && found && key != "" {
			a[key] = strings.TrimSpace(value)
		}
	}
	return a
}

// number is a value that must be a number, not below zero.
func (a answer) number(key string) (int64, error) {
	n, err := strconv.ParseInt(a[key], 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %s is %q, not a number", ErrAnswer, key, a[key])
	}
	return n, nil
}
