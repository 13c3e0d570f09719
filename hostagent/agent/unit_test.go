// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// Which engine was started from which text of its unit is told whatever clocks say.
func TestUnitRecord(t *testing.T) {
	first, second := supervise.Info{}, supervise.Info{}
	first.Identity, second.Identity = supervise.Identity{PID: 7, StartTicks: 1, BootID: "b"}, supervise.Identity{PID: 7, StartTicks: 2, BootID: "b"}
	same := func(text string) servicePlan { return servicePlan{unit: text, file: text} }
	why := func(r unitRecord, p supervise.Info) string {
		if c := r.change(p.Identity); len(c) == 1 && c[0].Restart {
			return c[0].To
		}
		return ""
	}
	var r unitRecord
	for _, step := range []struct {
		name string
		p    *supervise.Info
		plan servicePlan
		why  string
		want string // for what a restart is due
	}{
		{"no unit, no engine", nil, servicePlan{unit: "a"}, "", ""},
		{"an engine", &first, same("a"), "", ""},
		{"the unit is to be changed", &first, servicePlan{unit: "b", file: "a"}, "Restart differs", "Restart differs"},
		{"interrupted, and again", &first, servicePlan{unit: "b", file: "a"}, "Restart differs", "Restart differs"},
		{"it was changed", &first, same("b"), "", "Restart differs"},
		{"changed back", &first, same("a"), "", ""},
		{"changed", &first, servicePlan{unit: "b", file: "a"}, "Restart differs", "Restart differs"},
		{"restarted", &second, same("b"), "", ""},
		{"started again before systemd had read it", &first, servicePlan{unit: "b", file: "b", unread: true}, "", "it was written after the engine had started"},
	} {
		r = r.next(step.p, step.plan, step.why)
		if got := why(r, first); step.p != &second && got != step.want {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
		if got := why(r, second); step.p == &second && got != step.want {
			t.Errorf("%s: %q", step.name, got)
		}
	}
}

// An engine runs from a program that was replaced since.
func TestBinaryChange(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "holdfast")
	put := func() {
		t.Helper()
		b, err := os.ReadFile("/bin/sleep")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(binary+".new", b, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(binary+".new", binary); err != nil {
			t.Fatal(err)
		}
	}
	put()
	cmd := exec.CommandContext(t.Context(), binary, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if got := binaryChange(pid, binary); got != nil {
		t.Errorf("the same: %+v", got)
	}
	put()
	got := binaryChange(pid, binary)
	if len(got) != 1 || got[0].Attribute != "binary" || !got[0].Restart {
		t.Errorf("replaced: %+v", got)
	}
	// The agent of a whole machine tells it; engines of another keep what they were started with.
	a := idle(Options{Binary: binary, Systemd: true})
	run := engineRun{pid: pid}
	if diff := cmp.Diff(got, a.restartRequired(run, machineSpec(), "")); diff != "" {
		t.Error(diff)
	}
	a.opts.Systemd = false
	if got := a.restartRequired(run, machineSpec(), ""); got != nil {
		t.Errorf("%+v", got)
	}
}
