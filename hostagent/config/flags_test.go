// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }

func TestParseStore(t *testing.T) {
	for in, want := range map[string]Store{
		"/data/1":                      {Path: "/data/1"},
		"path=/data/1":                 {Path: "/data/1"},
		"path=/data/1/,attrs=ssd:fast": {Path: "/data/1", Attrs: []string{"ssd", "fast"}},
		"attrs=ssd,path=/a=b":          {Path: "/a=b", Attrs: []string{"ssd"}},
	} {
		got, err := ParseStore(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for in, says := range map[string]string{
		"":                  "empty",
		"attrs=ssd":         "no path",
		"path=":             "empty",
		"path=/a,path=/b":   "twice",
		"path=/a,attrs=x::": "attribute is empty",
		"type=mem,size=1":   "not built",
		"path=/a,speed=9":   "speed is not known",
	} {
		if _, err := ParseStore(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestParseFailover(t *testing.T) {
	for in, want := range map[string]struct {
		f    agentapi.WALFailover
		side string
	}{
		"":                                       {},
		"among-stores":                           {f: agentapi.WALFailover{Mode: "among-stores"}},
		"disabled":                               {f: agentapi.WALFailover{Mode: "disabled"}},
		"disabled,prev_path=/s":                  {f: agentapi.WALFailover{Mode: "disabled", PrevPaths: agentapi.Paths{"/s"}}},
		"path=/s":                                {f: agentapi.WALFailover{Mode: "side-disk"}, side: "/s"},
		"path=/s,prev_path=/old/":                {f: agentapi.WALFailover{Mode: "side-disk", PrevPaths: agentapi.Paths{"/old"}}, side: "/s"},
		"among-stores,prev_path=/s,prev_path=/t": {f: agentapi.WALFailover{Mode: "among-stores", PrevPaths: agentapi.Paths{"/s", "/t"}}},
	} {
		f, side, err := ParseFailover(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		got := ""
		if side != nil {
			got = side.Path
		}
		if diff := cmp.Diff(want.f, f) + cmp.Diff(want.side, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for _, in := range []string{"side-disk", "path=", "path", "among-stores,path=/x", "disabled,", "disabled,prev_path=", "path=/a,path=/b", "disabled,prev_path=/a,b"} {
		if _, _, err := ParseFailover(in); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func FuzzParseStore(f *testing.F) {
	for _, s := range []string{"path=/data/1,attrs=ssd:fast", "/data", ",,", "attrs=", "path=/a,type=mem"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseStore(in)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without words")
			}
			return
		}
		again := "path=" + s.Path
		if len(s.Attrs) > 0 {
			again += ",attrs=" + strings.Join(s.Attrs, ":")
		}
		s2, err := ParseStore(again)
		if err != nil {
			t.Fatalf("%q → %q: %v", in, again, err)
		}
		if diff := cmp.Diff(s, s2); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzParseFailover(f *testing.F) {
	for _, s := range []string{"among-stores", "path=/s,prev_path=/t", "disabled,prev_path=/s,prev_path=/t", "disabled", "=,="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		w, side, err := ParseFailover(in)
		if err != nil || in == "" {
			return
		}
		if side != nil && strings.Contains(side.Path, ",") {
			t.Fatal(side.Path)
		}
		w2, side2, err := ParseFailover(FailoverString(w, side))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, w2) + cmp.Diff(side, side2); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Whatever a file holds, it is refused with words or gives a configuration
// that is valid.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(consul))
	f.Add([]byte(`{"ports": [{"http": 1}], "raft_logstore": "x"}`))
	f.Add([]byte(`{"servers": {"name": "a"}, "stores": ["/x"], "data_dir": "/y"}`))
	f.Add([]byte(`raft_logstore { wal { segment_size_mb = 8 } } raft_logstore "a" {}`))
	f.Add([]byte("{{{\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		file := &File{}
		if _, err := Decode(file, in); err != nil {
			return
		}
		c, err := file.Config()
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
