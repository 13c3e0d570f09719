// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a later file sets is left to it: the plan would have the same to do after each boot.
// Seen to fail without Overridden in apply.
func TestOverridden(t *testing.T) {
	root := t.TempDir()
	for p, text := range map[string]string{
		"/etc/sysctl.d/50-before.conf":         "vm.swappiness = 10\n",
		"/etc/sysctl.d/60-holdfast.conf":       "vm.swappiness = 1\n",
		"/usr/lib/sysctl.d/99-tuned.conf":      "# vm.dirty_bytes = 5\n-vm/dirty_ratio = 20\nnot a setting\n\n",
		"/usr/lib/sysctl.d/98-switched.conf":   "vm.swappiness = 10\n",
		"/usr/local/lib/sysctl.d/70-none.conf": "vm.overcommit_memory=1\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(root+p), 0o755), os.WriteFile(root+p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", root+"/etc/sysctl.d/98-switched.conf"); err != nil {
		t.Fatal(err)
	}
	got := overridden(root)
	if diff := cmp.Diff(map[string]bool{"vm.dirty_bytes": true}, got); diff != "" {
		t.Error(diff)
	}
	p := &planner{wanted: map[string]bool{sysctlPath: true}, is: State{
		Sysctl: map[string]string{"vm.dirty_background_bytes": "67108864", "vm.dirty_bytes": "0", "vm.swappiness": "1"}, Overridden: got,
	}}
	p.apply(Set{})
	if len(p.actions) > 0 {
		t.Errorf("%v", p.actions)
	}
	p.is.Sysctl["vm.swappiness"] = "60"
	p.apply(Set{})
	if len(p.actions) != 1 {
		t.Errorf("%v", p.actions)
	}
	if !sets("vm.* = 1", "vm.swappiness") || sets("=", "vm.swappiness") || sets("\n", "vm.swappiness") {
		t.Error("patterns and lines without a name")
	}
}
