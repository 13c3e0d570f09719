// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func plan(t *testing.T, f *fake, set Set, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	// As Observe does: it looks at the files that the set knows, and at mount units; here
	// at those for a part, too.
	is := f.state
	is.Files = map[string]Installed{}
	for path, file := range f.state.Files {
		known := slices.Contains(set.optional, path) || strings.HasSuffix(path, ".mount")
		if known || slices.ContainsFunc(set.Files, func(w File) bool { return w.Path == path }) {
			is.Files[path] = file
		}
	}
	actions, err := MakePlan(set, is)
	if err != nil {
		t.Fatal(err)
	}
	if err := Do(t.Context(), f, actions, nil); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, a := range actions {
		if a.Kind == NeedRestart {
			continue
		}
		b.WriteString(strings.TrimSpace(string(a.Kind)+" "+a.Target) + "\n")
	}
	return b.String()
}

// A part of a host's set is the same in the whole one, takes nothing of the rest away,
// and Nothing takes all of it. Seen to fail without Set.part in MakePlan: the agent's
// part deletes the mount units.
func TestParts(t *testing.T) {
	f := newFake()
	h := hosts()["disks"]
	agent, err := MakeAgent(h)
	if got, want := plan(t, f, agent, err), `write /etc/sysusers.d/holdfast.conf
write /etc/tmpfiles.d/holdfast.conf
write /etc/systemd/system/holdfast-agent.service
daemon-reload
apply /etc/sysusers.d/holdfast.conf
apply /etc/tmpfiles.d/holdfast.conf
enable holdfast-agent.service
start holdfast-agent.service
`; got != want {
		t.Errorf("the agent alone:\n%s", got)
	}
	mount, err := MakeMount("side_disk", *h.Side)
	if got, want := plan(t, f, mount, err), `write /etc/systemd/system/mnt-holdfast-side.mount
daemon-reload
enable mnt-holdfast-side.mount
start mnt-holdfast-side.mount
`; got != want {
		t.Errorf("a mount alone:\n%s", got)
	}
	whole, err := Make(h)
	got := plan(t, f, whole, err)
	for _, part := range []string{"holdfast-agent.service", "mnt-holdfast-side.mount", "sysusers"} {
		if strings.Contains(got, part) {
			t.Errorf("the whole set does %s again:\n%s", part, got)
		}
	}
	if got := plan(t, f, agent, nil) + plan(t, f, mount, nil) + plan(t, f, MakeUser(h), nil); got != "" {
		t.Errorf("again:\n%s", got)
	}
	got = plan(t, f, Nothing(false), nil)
	if strings.Contains(got, "delete /etc/systemd/system/holdfast-agent.service") || !strings.Contains(got, "disable holdfast-engine.service") {
		t.Errorf("everything but the agent:\n%s", got)
	}
	plan(t, f, Nothing(true), nil)
	if len(f.state.Files) > 0 {
		t.Errorf("left: %v", f.state.Files)
	}
}

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]int{
		"systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n": 252,
		"systemd 258~rc1 (x)":                           258, "systemd 255.4 (255.4-1ubuntu8)": 255, "": 0, "upstart 1": 0,
	} {
		if got, err := parseVersion(out); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v", out, got, err)
		}
	}
}

// A mount that was refused is not there at the next boot either. Seen to fail, as what a
// mount's end alone does, without disable and Delete.
func TestRemoveMount(t *testing.T) {
	f := newFake()
	set, err := MakeMount("stores.0", Disk{"/mnt/a", uuidA, "xfs"})
	if err != nil {
		t.Fatal(err)
	}
	actions, err := MakePlan(set, f.state)
	if err == nil {
		err = Do(t.Context(), f, actions, nil)
	}
	if err != nil || !f.state.Units["mnt-a.mount"].Active {
		t.Fatalf("%+v %v", f.state, err)
	}
	f.done = nil
	if err := RemoveMount(t.Context(), f, "/mnt/a"); err != nil {
		t.Fatal(err)
	}
	want := []string{"systemctl stop mnt-a.mount", "systemctl disable mnt-a.mount", "delete /etc/systemd/system/mnt-a.mount", "systemctl daemon-reload"}
	if diff := cmp.Diff(want, f.done); diff != "" {
		t.Error(diff)
	}
}
