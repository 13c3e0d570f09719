// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update rewrites it):\n%s", path, diff)
	}
}

// The hashes of these steps are on hosts. A change of this file makes every step of
// every host run again after an upgrade: raise encodingVersion, and mean it.
func TestHashes(t *testing.T) {
	key := Key{1, 2, 3}
	var b strings.Builder
	for _, s := range []Step{
		{Name: "file", File: &File{Path: "/etc/motd", Content: "hello\n"}},
		{Name: "template", File: &File{Path: "/etc/app.conf", Template: "a={{.a}} pw={{.pw}}", Vars: map[string]Value{"a": Plain("1"), "pw": Secret("hunter2")}, Owner: "root", Group: "adm", Mode: 0o640}},
		{Name: "inline", Shell: &Shell{Inline: []string{"apt-get update", "apt-get install -y chrony"}}},
		{Name: "script", Shell: &Shell{Script: "echo hello\n", Env: map[string]Value{"A": Plain(strings.Repeat("x", 81)), "B": Plain("sha256:00"), "PW": Secret("hunter2")}, User: "nobody", Dir: "/tmp", ValidExitCodes: []int{3, 0, 3}}},
	} {
		if err := Validate([]Step{s}); err != nil {
			t.Fatal(err)
		}
		a := s.attributes(key, nil)
		b.WriteString(s.Name + " " + hash(a) + "\n" + string(canonical(a)) + "\n\n")
	}
	golden(t, "hashes", b.String())
}

// What says when and how often is not in the hash; what says what is.
func TestWhatIsHashed(t *testing.T) {
	base := func() Step {
		return Step{Name: "s", Shell: &Shell{Inline: []string{"a", "b"}, Env: map[string]Value{"A": Plain("1"), "B": Secret("2")}}}
	}
	was := base()
	for name, tc := range map[string]struct {
		edit func(*Step)
		same bool
	}{
		"timeout":           {func(s *Step) { s.Timeout = time.Hour }, true},
		"retries":           {func(s *Step) { s.Retries, s.Backoff = 3, time.Hour }, true},
		"pause":             {func(s *Step) { s.PauseBefore = time.Hour }, true},
		"nodes":             {func(s *Step) { s.Only, s.Except = []string{"a"}, []string{"b"} }, true},
		"then":              {func(s *Step) { s.Then = ThenAll }, true},
		"inline as script":  {func(s *Step) { s.Shell.Inline, s.Shell.Script = nil, "a\nb\n" }, true},
		"exit code 0":       {func(s *Step) { s.Shell.ValidExitCodes = []int{0} }, true},
		"commands":          {func(s *Step) { s.Shell.Inline = []string{"a b"} }, false},
		"order":             {func(s *Step) { s.Shell.Inline = []string{"b", "a"} }, false},
		"value":             {func(s *Step) { s.Shell.Env["A"] = Plain("3") }, false},
		"variable":          {func(s *Step) { s.Shell.Env["C"] = Plain("") }, false},
		"secret":            {func(s *Step) { s.Shell.Env["B"] = Secret("3") }, false},
		"secret made plain": {func(s *Step) { s.Shell.Env["B"] = Plain("2") }, false},
		"user":              {func(s *Step) { s.Shell.User = "nobody" }, false},
		"dir":               {func(s *Step) { s.Shell.Dir = "/tmp" }, false},
		"exit codes":        {func(s *Step) { s.Shell.ValidExitCodes = []int{0, 1} }, false},
	} {
		s := base()
		tc.edit(&s)
		if same := hash(was.attributes(Key{}, nil)) == hash(s.attributes(Key{}, nil)); same != tc.same {
			t.Errorf("%s: same hash: %v", name, same)
		}
	}
	if hash(was.attributes(Key{}, nil)) == hash(was.attributes(Key{1}, nil)) {
		t.Error("the host's key is not in it")
	}
}

func TestRecordDamage(t *testing.T) {
	r := Record{Steps: map[string]Entry{"a": {Hash: "1:00", State: Finished, Attributes: map[string]string{"kind": "shell"}}}}
	b, err := encodeRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "record", string(b))
	if got, err := decodeRecord(b); err != nil || cmp.Diff(r, got) != "" {
		t.Errorf("%v %v", got, err)
	}
	for i := range b { // whatever bit is turned is noticed
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, err := decodeRecord(c); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for n := range b {
		if _, err := decodeRecord(b[:n]); err == nil {
			t.Fatalf("%d bytes are taken for a record", n)
		}
	}
	if _, err := decodeRecord(bytes.Replace(b, []byte(" 1 "), []byte(" 2 "), 1)); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
}

// A record that cannot be read is never taken for an empty one: everything would run.
func TestDamagedRecordRefusesToRun(t *testing.T) {
	dir := t.TempDir()
	h := NewHost(dir, "n1")
	steps := []Step{{Name: "s", Shell: &Shell{Script: "true"}}}
	if _, err := h.Run(t.Context(), steps, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordName), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), steps, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("run: %v", err)
	}
	if _, err := h.Plan(steps); !errors.Is(err, ErrCorrupt) {
		t.Errorf("plan: %v", err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	h := NewHost(dir, "n1")
	if _, err := h.Run(t.Context(), []Step{{Name: "s", Shell: &Shell{Script: "true"}}}, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, recordName: 0o600, keyName: 0o600, lockName: 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%q: %v %v", name, fi.Mode(), err)
		}
	}
	key, ok, err := readKey(vfs.OS{}, dir)
	if err != nil || !ok || key == (Key{}) {
		t.Errorf("the key: %v %v", ok, err)
	}
}

func FuzzRecord(f *testing.F) {
	b, _ := os.ReadFile("testdata/record")
	f.Add(b)
	f.Add([]byte("holdfast-provision 1 \n{}"))
	f.Add([]byte("holdfast-provision 9\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("not classed: %v", err)
			}
			return
		}
		again, err := encodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeRecord(again); err != nil || cmp.Diff(r, got) != "" {
			t.Fatalf("%v: %s", err, cmp.Diff(r, got))
		}
	})
}

// The body behind a right checksum is fuzzed too: the checksum keeps the fuzzer out.
func FuzzRecordBody(f *testing.F) {
	f.Add([]byte(`{"steps":{"a":{"hash":"1:0","attributes":null,"state":"due","at":"2026-01-01T00:00:00Z"}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r Record
		if json.Unmarshal(body, &r) != nil {
			return
		}
		b, err := encodeRecord(r)
		if err != nil {
			return // a time that JSON cannot carry
		}
		if _, err := decodeRecord(b); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// Encodings of two lists of attributes are never alike.
func FuzzCanonical(f *testing.F) {
	f.Add("a", "b", "a", "b,1:c,")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		a, b := map[string]string{n1: v1}, map[string]string{n2: v2}
		if (cmp.Diff(a, b) == "") != bytes.Equal(canonical(a), canonical(b)) {
			t.Fatalf("%q %q", a, b)
		}
		b[n1] += v1
		if (cmp.Diff(a, b) == "") != bytes.Equal(canonical(a), canonical(b)) {
			t.Fatalf("%q %q", a, b)
		}
	})
}
