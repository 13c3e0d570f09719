// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// fake is a host in memory with systemd's part of it: what is done to it shows in the
// next State. It writes down what is done.
type fake struct {
	state State
	now   time.Time
	done  []string
	// after, where above 0, is how many more actions work before it breaks down.
	after int
}

var errBroken = errors.New("the host broke down")

func newFake() *fake {
	return &fake{now: time.Unix(1000, 0), after: -1, state: State{
		Files: map[string]Installed{}, Sysctl: map[string]string{},
		Units: map[string]UnitState{journaldUnit: {Active: true, Enabled: false, Since: time.Unix(10, 0)}},
	}}
}

func (f *fake) step(what string) error {
	if f.after == 0 {
		return errBroken
	}
	f.after--
	f.now = f.now.Add(time.Minute)
	f.done = append(f.done, what)
	return nil
}

func (f *fake) unit(name string, edit func(*UnitState)) {
	u := f.state.Units[name]
	edit(&u)
	f.state.Units[name] = u
}

// WriteFile implements System.
func (f *fake) WriteFile(file File) error {
	if err := f.step("write " + file.Path); err != nil {
		return err
	}
	if name, ok := unitOf(file.Path); ok {
		if _, known := f.state.Files[file.Path]; known {
			f.unit(name, func(u *UnitState) { u.NeedDaemonReload = true })
		}
	}
	f.state.Files[file.Path] = Installed{Text: file.Text, Modified: f.now}
	return nil
}

// Delete implements System.
func (f *fake) Delete(path string) error {
	if err := f.step("delete " + path); err != nil {
		return err
	}
	delete(f.state.Files, path)
	return nil
}

// Run implements System.
func (f *fake) Run(_ context.Context, argv ...string) (string, error) {
	if err := f.step(strings.Join(argv, " ")); err != nil {
		return "", err
	}
	last := argv[len(argv)-1]
	switch {
	case argv[0] == "systemd-sysusers":
		f.state.User = true
	case argv[0] == "systemd-tmpfiles":
		f.state.RunDir = true
	case strings.HasSuffix(argv[0], "systemd-sysctl"):
		for _, s := range sysctls {
			f.state.Sysctl[s.name] = s.value
		}
	case argv[1] == "daemon-reload":
		for name := range f.state.Units {
			f.unit(name, func(u *UnitState) { u.NeedDaemonReload = false })
		}
	default:
		if _, ok := f.state.Files[unitDir+last]; !ok {
			return "", fmt.Errorf("unit %s not found", last)
		}
		if f.state.Units[last].NeedDaemonReload {
			return "", fmt.Errorf("unit %s changed on disk", last)
		}
		f.unit(last, func(u *UnitState) {
			switch argv[1] {
			case "enable":
				u.Enabled = true
			case "disable":
				u.Enabled = false
			case "start":
				if last == EngineUnit && !f.state.User {
					u.Active = false // 217/USER
					return
				}
				u.Active, u.Since = true, f.now
			}
		})
	}
	return "", nil
}

// Stories of a host that is brought to one set after the other. Rewritten by -rewrite;
// only commit what you understand.
func TestPlan(t *testing.T) {
	f := newFake()
	h := hosts()["disks"]
	datadriven.RunTest(t, "testdata/plan", func(t *testing.T, d *datadriven.TestData) string {
		for line := range strings.Lines(d.Input) {
			edit(t, f, &h, strings.Fields(line))
		}
		set, err := Make(h)
		if err != nil {
			return err.Error() + "\n"
		}
		actions, err := MakePlan(set, f.state)
		if err != nil {
			return err.Error() + "\n"
		}
		var b strings.Builder
		for _, a := range actions {
			fmt.Fprintln(&b, a)
		}
		if b.Len() == 0 {
			b.WriteString("nothing to do\n")
		}
		if d.Cmd == "do" {
			if err := Do(t.Context(), f, actions, nil); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	})
}

func edit(t *testing.T, f *fake, h *Host, words []string) {
	switch words[0] {
	case "side":
		h.Side = nil
		if len(words) > 1 {
			h.Side = &Disk{words[1], uuidS, "xfs"}
		}
	case "previous":
		h.Previous = nil
		if len(words) > 1 {
			h.Previous = []Previous{{words[1] + "/store", words[1]}}
		}
	case "config":
		h.Config = words[1]
	case "systemd":
		h.Systemd = 252
	case "wanted":
		h.EngineWanted = words[1] == "yes"
	case "restart":
		f.now = f.now.Add(time.Minute)
		f.unit(words[1], func(u *UnitState) { u.Since = f.now })
	case "dies":
		f.unit(words[1], func(u *UnitState) { u.Active, u.Since = false, time.Time{} })
	case "reboot":
		f.state.RunDir = false
	case "foreign":
		f.state.Files[words[1]] = Installed{Text: "[Mount]\n"}
	case "remove":
		delete(f.state.Files, words[1])
	default:
		t.Fatalf("unknown %s", words[0])
	}
}

// Broken down after any action, the next plan has the rest, in an order that systemd
// takes, and ends where an unbroken one does. Seen to fail with NeedDaemonReload left
// out of reload, and with drop-ins applied only when they are written.
func TestBrokenDownAnywhere(t *testing.T) {
	first, second := hosts()["plain"], hosts()["disks"]
	first.Previous = []Previous{{Path: "/mnt/old"}}
	second.Config = "/etc/holdfast/other.json"
	apply := func(f *fake, h Host) error {
		set, err := Make(h)
		if err != nil {
			t.Fatal(err)
		}
		actions, err := MakePlan(set, f.state)
		if err != nil {
			t.Fatal(err)
		}
		return Do(t.Context(), f, actions, nil)
	}
	for n := 0; ; n++ {
		f := newFake()
		f.after = n
		err := apply(f, first)
		if err == nil {
			err = apply(f, second)
		}
		if err == nil {
			if n < 20 {
				t.Errorf("only %d actions", n)
			}
			return
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("after %d actions: %v\n%s", n, err, strings.Join(f.done, "\n"))
		}
		f.after = -1
		if err := apply(f, second); err != nil {
			t.Fatalf("broken after %d actions, and then: %v\n%s", n, err, strings.Join(f.done, "\n"))
		}
		set, _ := Make(second)
		rest, err := MakePlan(set, f.state)
		for _, a := range rest {
			if a.Kind != NeedRestart {
				t.Errorf("broken after %d actions: left is %v", n, a)
			}
		}
		for name, u := range f.state.Units {
			if u.NeedDaemonReload {
				t.Errorf("broken after %d actions: systemd did not read %s again", n, name)
			}
		}
		if err != nil || !f.state.Units[EngineUnit].Active {
			t.Errorf("broken after %d actions: %v", n, err)
		}
	}
}

func TestDoEndsAtTheFirstFailure(t *testing.T) {
	f := newFake()
	f.after = 1
	var said []string
	err := Do(t.Context(), f, []Action{
		{Kind: Delete, Target: "/a"}, {Kind: NeedRestart, Target: "u"}, {Kind: Reload, Command: []string{"systemctl", "daemon-reload"}}, {Kind: Delete, Target: "/b"},
	}, func(a Action) { said = append(said, string(a.Kind)) })
	if !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "daemon-reload: ") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"delete", "restart needed", "daemon-reload"}, said); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Do(ctx, f, []Action{{Kind: Delete, Target: "/a"}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

func TestParseShow(t *testing.T) {
	b, err := os.ReadFile("testdata/show")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseShow(string(b))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]UnitState{
		"holdfast-engine.service":  {Enabled: true, Active: true, NeedDaemonReload: true, Since: time.Unix(1764115200, 0)},
		"holdfast-agent.service":   {Active: true}, // it is about to start again
		`mnt-a\x2db.mount`:         {Enabled: true, Since: time.Unix(5, 0)},
		"none.service":             {},
		"systemd-journald.service": {Active: true, Since: time.Unix(7, 0)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := parseShow("Id=a\nActiveEnterTimestamp=@soon\n"); err == nil {
		t.Error("a time that is none")
	}
}

func FuzzParseShow(f *testing.F) {
	b, _ := os.ReadFile("testdata/show")
	f.Add(string(b))
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseShow(s) })
}

// Files on a real file system: atomic, with their mode, and deleted twice.
func TestLocalFiles(t *testing.T) {
	l := Local{Root: t.TempDir()}
	f := File{Path: "/etc/systemd/journald.conf.d/x.conf", Mode: 0o644, Text: "a"}
	for _, text := range []string{"a", "b"} {
		f.Text = text
		if err := l.WriteFile(f); err != nil {
			t.Fatal(err)
		}
		got, err := l.look(f.Path)
		fi, serr := os.Stat(l.Root + f.Path)
		if err != nil || serr != nil || got.Text != text || fi.Mode().Perm() != 0o644 {
			t.Errorf("%+v %v %v %v", got, fi.Mode(), err, serr)
		}
	}
	left, err := filepath.Glob(l.Root + "/etc/systemd/journald.conf.d/*")
	if err != nil || len(left) != 1 {
		t.Errorf("%v %v", left, err)
	}
	for range 2 {
		if err := l.Delete(f.Path); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.look(f.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	out, err := l.Run(t.Context(), "sh", "-c", "echo said; exit 3")
	if err == nil || !strings.Contains(err.Error(), "exit status 3: said") || out != "said\n" {
		t.Errorf("%q %v", out, err)
	}
}

// What is observed of a machine: its files, also those of disks that are gone, and
// systemd's answer, which a program in its place gives here.
func TestObserve(t *testing.T) {
	set, err := Make(hosts()["plain"])
	if err != nil {
		t.Fatal(err)
	}
	l := Local{Root: t.TempDir()}
	gone, foreign := unitDir+"mnt-gone.mount", unitDir+"mnt-mine.mount"
	for path, text := range map[string]string{
		unitDir + EngineUnit: marker, gone: marker, foreign: "[Mount]\n", logrotatePath: marker, DefaultLogConfig: marker,
		"/proc/sys/vm/swappiness": "60\n", runDir + "/x": "",
	} {
		if err := l.WriteFile(File{Path: path, Mode: 0o600, Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	show, err := filepath.Abs("testdata/show")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"" + bin + "/asked\"\nexec cat '" + show + "'\n"
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	got, err := l.Observe(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for path := range got.Files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if diff := cmp.Diff([]string{DefaultLogConfig, logrotatePath, unitDir + EngineUnit, gone, foreign}, paths); diff != "" {
		t.Errorf("files: %s", diff)
	}
	if got.Sysctl["vm.swappiness"] != "60" || !got.RunDir || !got.Units[EngineUnit].Active {
		t.Errorf("%+v", got)
	}
	asked, err := os.ReadFile(filepath.Join(bin, "asked"))
	if err != nil || !strings.Contains(string(asked), "\nmnt-gone.mount\n") || strings.Contains(string(asked), "mnt-mine") {
		t.Errorf("asked: %v\n%s", err, asked)
	}
	actions, err := MakePlan(set, got)
	text := fmt.Sprint(actions)
	if err != nil || !strings.Contains(text, "delete "+gone) || !strings.Contains(text, "delete "+DefaultLogConfig) || strings.Contains(text, foreign) {
		t.Errorf("%v\n%s", err, text)
	}
}

// A file that is somebody else's is not overwritten.
func TestForeign(t *testing.T) {
	set, err := Make(hosts()["plain"])
	if err != nil {
		t.Fatal(err)
	}
	_, err = MakePlan(set, State{Files: map[string]Installed{unitDir + EngineUnit: {Text: "[Service]\nExecStart=/mine\n"}}})
	if e, ok := errors.AsType[*agentapi.Error](err); !ok || !strings.Contains(e.Why, "did not write it") {
		t.Errorf("got %v", err)
	}
}
