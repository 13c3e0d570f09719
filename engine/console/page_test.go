// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestPages compares what changes of a page in every state with
// testdata/pages, and the frame around it once.
func TestPages(t *testing.T) {
	for i, f := range fixtures() {
		t.Run(f.name, func(t *testing.T) {
			p := render(f.state())
			var b bytes.Buffer
			fmt.Fprintf(&b, "%s\n%s | %s\n", p.Title, p.Tone, p.Sentence)
			for _, part := range liveParts {
				fmt.Fprintf(&b, "\n<!-- %s -->\n", part)
				if err := templates.ExecuteTemplate(&b, part, p); err != nil {
					t.Fatal(err)
				}
				b.WriteByte('\n')
			}
			golden(t, f.name, b.Bytes())
			page := whole(t, f)
			if i == 0 {
				golden(t, "frame", regexp.MustCompile(`\.[0-9a-f]{16}\.`).ReplaceAll(page, []byte(".HASH.")))
			}
			strict(t, page)
		})
	}
}

func whole(t *testing.T, f *fixture) []byte {
	t.Helper()
	var b bytes.Buffer
	p := render(f.state())
	if err := templates.ExecuteTemplate(&b, "page", frame{page: p, Boot: "boot", Icon: "icon-" + string(p.Tone) + ".svg"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "pages", name+".html")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), rewritten by -update:\n%s", path, diff)
	}
}

// inline is what the Content-Security-Policy would refuse, and what a value
// that was not escaped would look like. With template.HTML around a store's
// path the state "hostile" was seen to fail here.
var inline = regexp.MustCompile(`(?i)<style|<script>|<[^>]*\s(style|on[a-z]+)=|<img|javascript:|https?://`)

func strict(t *testing.T, page []byte) {
	t.Helper()
	if found := inline.FindAll(page, -1); found != nil {
		t.Errorf("the page holds %q", found)
	}
}

// TestJudge: what is worse comes first.
func TestJudge(t *testing.T) {
	words := make(map[string]string)
	for _, f := range fixtures() {
		v := judge(&f.stores)
		words[f.name] = string(v.Tone) + " " + v.Word
		if strings.ContainsAny(v.Sentence, "{}%") {
			t.Errorf("%s: the sentence is %q", f.name, v.Sentence)
		}
	}
	want := map[string]string{
		"healthy-follower": "ok primary", "healthy-leader": "ok primary", "disabled": "ok primary", "no-stores": "ok no stores", "hostile": "warn not armed",
		"failed-over": "warn secondary", "two-stores": "warn secondary", "side-unhealthy": "warn side unhealthy", "not-armed": "warn not armed",
		"side-nearly-full": "bad side nearly full", "disk-hangs": "bad disk hangs", "no-leader": "bad no leader", "joining": "bad no leader",
		"failed": "bad failed", "log-corrupt": "bad log corrupt",
	}
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
