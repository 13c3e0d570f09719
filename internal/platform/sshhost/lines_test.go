// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lines are told whole, however they arrive, and without secrets; all of it gets into the output.
func TestLines(t *testing.T) {
	in := "step one\n\r\n  hunter2-hunter2 is it\nbefore " + strings.Repeat("x", longestLine) + "hunter2-hunter2\nafter\nno end"
	want := []string{"step one", redacted + " is it", "after"}
	for name, chunk := range map[string]int{"at once": len(in), "by seven": 7, "by one": 1} {
		var got []string
		var out bytes.Buffer
		l := &lines{Writer: &out, redact: newRedactor([]string{"hunter2-hunter2"})}
		l.mu.tell = func(line string) { got = append(got, line) }
		for rest := in; rest != ""; {
			n := min(chunk, len(rest))
			if _, err := l.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if out.String() != in {
			t.Errorf("%s: the output is %q", name, out.String())
		}
		l.shut()
		if _, err := l.Write([]byte("\nlate\n")); err != nil || len(got) != len(want) {
			t.Errorf("%s: told after the end: %q, %v", name, got, err)
		}
	}
	l := &lines{Writer: io.Discard, redact: newRedactor(nil)} // nobody listens
	if _, err := l.Write([]byte("a\n")); err != nil {
		t.Error(err)
	}
}
