// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"fmt"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var escapes = []struct{ path, want string }{
	{"/", "-"},
	{"/mnt/holdfast/1", "mnt-holdfast-1"},
	{"/mnt/a-b", `mnt-a\x2db`},
	{"/mnt/a b", `mnt-a\x20b`},
	{"/.hidden/.x", `\x2ehidden-.x`},
	{"/ü", `\xc3\xbc`},
	{`/a\b`, `a\x5cb`},
	{"/a:b_c.d", "a:b_c.d"},
	{"/a%i$x\"'", `a\x25i\x24x\x22\x27`},
}

func TestEscapePath(t *testing.T) {
	for _, tc := range escapes {
		if got := escapePath(tc.path); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.path, got, tc.want)
		}
	}
}

// The same as systemd-escape, where that is installed.
func TestEscapePathAsSystemd(t *testing.T) {
	program, err := exec.LookPath("systemd-escape")
	if err != nil {
		t.Skip("systemd-escape is not installed; scripts/deps.sh installs it")
	}
	paths := []string{}
	for _, tc := range escapes {
		paths = append(paths, tc.path)
	}
	for c := 1; c < 256; c++ {
		if c != '/' && c != '.' && c < 128 { // a dot alone is no shortest form
			paths = append(paths, fmt.Sprintf("/%c", c), fmt.Sprintf("/a%cb", c))
		}
	}
	for _, p := range paths {
		out, err := exec.CommandContext(t.Context(), program, "--path", "--", p).Output()
		if got := escapePath(p); err != nil || strings.TrimSuffix(string(out), "\n") != got {
			t.Errorf("%q: %q, systemd says %q %v", p, got, out, err)
		}
	}
}

// readLine is what systemd makes of a value that is a whole line: specifiers.
func readLine(s string) string { return strings.ReplaceAll(s, "%%", "%") }

// readWords takes a value apart as systemd does (extract_first_word with UNQUOTE), then
// expands specifiers, and on a command line variables. It reports what is left alone:
// a specifier or a variable that is not escaped.
func readWords(t *testing.T, s string, command bool) []string {
	var words []string
	var w strings.Builder
	quote, in, back := byte(0), false, false
	for i := range len(s) {
		c := s[i]
		switch {
		case back:
			if c != '\\' && c != '"' {
				t.Fatalf("escape \\%c in %q", c, s)
			}
			w.WriteByte(c)
			back = false
		case c == '\\':
			back, in = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, in = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if in {
				words = append(words, w.String())
				w.Reset()
				in = false
			}
		default:
			w.WriteByte(c)
			in = true
		}
	}
	if quote != 0 || back {
		t.Fatalf("not closed: %q", s)
	}
	if in {
		words = append(words, w.String())
	}
	for i, word := range words {
		command := command && i > 0 // the program has no variables
		for _, special := range []string{"%", "$"} {
			if special == "$" && !command {
				continue
			}
			if strings.Contains(strings.ReplaceAll(word, special+special, ""), special) {
				t.Fatalf("%s is left in %q", special, word)
			}
			words[i] = strings.ReplaceAll(words[i], special+special, special)
		}
	}
	return words
}

// value is the only value of a directive in a text.
func value(t *testing.T, text, name string) string {
	values := directives(text)[name]
	if len(values) != 1 {
		t.Fatalf("%s is there %d times in:\n%s", name, len(values), text)
	}
	return values[0]
}

// Whatever a host says, its units have the lines of a harmless host and no others, and
// systemd reads from each directive the value that was meant.
func FuzzInjection(f *testing.F) {
	for _, h := range hosts() {
		f.Add(h.Node, h.withDefaults().Binary, h.withDefaults().Config, h.Stores[0].Path)
	}
	f.Add("%n", "/a;b", "/a' b", `/mnt/a\x2db`)
	f.Add("a\u2028b", "/$$", "/%%", `/"`)
	harmless := Host{Node: "a", Stores: []Disk{{"/mnt/a", uuidA, "ext4"}}, Side: &Disk{Path: "/side"}, Systemd: 252}
	plain, err := Make(harmless)
	if err != nil {
		f.Fatal(err)
	}
	names := func(s Set) []string {
		var lines []string
		for _, file := range s.Files {
			for l := range strings.Lines(file.Text) {
				name, _, _ := strings.Cut(l, "=")
				lines = append(lines, strings.TrimRight(name, "\n"))
			}
		}
		return lines
	}
	f.Fuzz(func(t *testing.T, node, binary, config, store string) {
		h := harmless
		h.Node, h.Binary, h.Config, h.Stores = node, binary, config, []Disk{{store, uuidA, "ext4"}}
		set, err := Make(h)
		if err != nil {
			return
		}
		if diff := cmp.Diff(names(plain), names(set)); diff != "" {
			t.Fatalf("other lines: %s", diff)
		}
		h = h.withDefaults()
		files := map[string]string{}
		for _, f := range set.Files {
			files[f.Path] = f.Text
		}
		e := files[unitDir+EngineUnit]
		want := []string{h.Binary, "engine", "-config-file", h.Config}
		if got := readWords(t, value(t, e, "ExecStart"), true); cmp.Diff(want, got) != "" {
			t.Fatalf("ExecStart: %q, want %q", got, want)
		}
		if got := readWords(t, value(t, e, "ReadWritePaths"), false); cmp.Diff([]string{store, "-/side"}, got) != "" {
			t.Fatalf("ReadWritePaths: %q", got)
		}
		if got := readWords(t, value(t, e, "RequiresMountsFor"), false); cmp.Diff([]string{store}, got) != "" {
			t.Fatalf("RequiresMountsFor: %q", got)
		}
		if got := readLine(value(t, e, "Description")); got != "Holdfast engine of node "+node {
			t.Fatalf("Description: %q", got)
		}
		m, ok := files[unitDir+MountName(store)]
		if !ok || readLine(value(t, m, "Where")) != store {
			t.Fatalf("the mount unit of %q is not there: %q", store, m)
		}
	})
}

// The name of a mount unit can be read back, so no two paths share one.
func FuzzEscapePath(f *testing.F) {
	for _, tc := range escapes {
		f.Add(tc.path)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return
		}
		var b strings.Builder
		b.WriteByte('/')
		if name := escapePath(p); name != "-" {
			for i := 0; i < len(name); i++ {
				switch c := name[i]; {
				case c == '-':
					b.WriteByte('/')
				case c == '\\':
					var n byte
					if _, err := fmt.Sscanf(name[i:i+4], `\x%02x`, &n); err != nil {
						t.Fatalf("%q: %v", name, err)
					}
					b.WriteByte(n)
					i += 3
				case alphanumeric(c) || strings.IndexByte(":_.", c) >= 0:
					b.WriteByte(c)
				default:
					t.Fatalf("%q has %q", name, c)
				}
			}
		}
		if b.String() != p {
			t.Fatalf("%q: read back as %q", p, b.String())
		}
	})
}
