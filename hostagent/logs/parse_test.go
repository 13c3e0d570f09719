// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// TestParse: what a logs.yaml in /etc/holdfast means, or why it is refused.
func TestParse(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string {
			c, err := Parse([]byte(d.Input), "/etc/holdfast")
			if err != nil {
				return tell(err)
			}
			return describe(c)
		})
	})
}

func tell(err error) string {
	e, ok := errors.AsType[*agentapi.Error](err)
	if !ok {
		return fmt.Sprintf("not for a person: %v\n", err)
	}
	return fmt.Sprintf("%s: %s\n%s\n", e.What, e.Why, e.Next)
}

func describe(c *Config) string {
	var b strings.Builder
	sink := func(s Sink, more string, args ...any) {
		filter := "everything"
		switch s.Filter {
		case hclog.Trace:
		case hclog.Off:
			filter = "nothing"
		default:
			filter = s.Filter.String()
		}
		fmt.Fprintf(&b, "%s: %s, %s, ", s.Name, filter, s.Format)
		if s.Buffering.MaxStaleness == 0 {
			fmt.Fprintf(&b, "at once, %d bytes at most", s.Buffering.MaxBufferSize)
		} else {
			fmt.Fprintf(&b, "%v or %d bytes, %d at most", s.Buffering.MaxStaleness, s.Buffering.FlushTriggerSize, s.Buffering.MaxBufferSize)
		}
		fmt.Fprintf(&b, more+"\n", args...)
	}
	sink(c.Stderr, "")
	for _, f := range c.Files {
		sink(f.Sink, ", %s of %d bytes in %d, %o", f.path(), f.MaxFileSize, f.MaxGroupSize, f.Permissions)
	}
	for _, s := range c.Syslog {
		sink(s.Sink, ", %s %s, facility %d", s.Net, s.Address, s.Facility)
	}
	for _, h := range c.HTTP {
		sink(h.Sink, ", %s in %v, %d headers", h.Address, h.Timeout, len(h.Headers))
	}
	for _, f := range c.Fluent {
		sink(f.Sink, ", %s %s", f.Net, f.Address)
	}
	return b.String()
}

// The examples of the documentation are read by the program.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/logs/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		if _, err := Read(f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs.yaml")
	if err := os.WriteFile(path, []byte("file-defaults: {dir: here}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(filepath.Join(dir, "here"), c.Files[0].Dir); d != "" {
		t.Error(d)
	}
	if err := os.WriteFile(path, make([]byte, maxDocument+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(dir, "none.yaml")} {
		if _, err := Read(p); !strings.Contains(tell(err), p) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// Whatever a file holds, it is refused with words or gives a configuration that
// is whole.
func FuzzParse(f *testing.F) {
	stories, err := filepath.Glob("testdata/parse/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range stories {
		b, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		for part := range strings.SplitSeq(string(b), "\n\n") {
			_, text, _ := strings.Cut(part, "parse\n")
			text, _, _ = strings.Cut(text, "----")
			f.Add([]byte(text))
		}
	}
	f.Add([]byte("a: &a {b: *a}"))
	f.Add([]byte("file-defaults: &a {buffering: *a}"))
	f.Add([]byte("sinks: {http-servers: &a {x: {headers: *a}}}"))
	f.Add([]byte("{{{\xff"))
	f.Add([]byte("--- a\n--- b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text, "/etc/holdfast")
		if err != nil {
			if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Why == "" || e.Next == "" {
				t.Fatalf("%+v", err)
			}
			return
		}
		check := func(s Sink) {
			b := s.Buffering
			if s.Name == "" || s.Format != Text && s.Format != JSON || b.MaxBufferSize <= 0 || b.FlushTriggerSize > b.MaxBufferSize || b.MaxStaleness < 0 {
				t.Fatalf("%+v", s)
			}
		}
		check(c.Stderr)
		for _, f := range c.Files {
			check(f.Sink)
			if !filepath.IsAbs(f.Dir) || f.Permissions&0o600 != 0o600 || f.MaxFileSize < 0 || f.MaxGroupSize < 0 {
				t.Fatalf("%+v", f)
			}
		}
		for _, s := range c.Syslog {
			check(s.Sink)
		}
		for _, h := range c.HTTP {
			check(h.Sink)
		}
		for _, f := range c.Fluent {
			check(f.Sink)
		}
	})
}
