// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCaptured replays captured machines and compares with what lsblk said there.
func TestCaptured(t *testing.T) {
	for name, m := range captures(t) {
		if m.lsblkText == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			devices := m.discover(t)
			if diff := cmp.Diff(m.lsblkText, table(t, devices)); diff != "" {
				t.Errorf("table (-lsblk +ours):\n%s", diff)
			}
			compareJSON(t, comparison{before: m.lsblkJSON, after: m.lsblkJSON, devices: devices, silent: silent(m.roots(t))})
		})
	}
}

// TestComposed lets lsblk itself look at the trees that were made by hand.
func TestComposed(t *testing.T) {
	for _, name := range []string{"composed", "gce"} {
		t.Run(name, func(t *testing.T) {
			m := readMachine(t, "testdata/"+name+".txtar")
			devices := m.discover(t)
			root := m.materialize(t)
			want := lsblk(t, "--sysroot", root)
			if diff := cmp.Diff(string(want), table(t, devices)); diff != "" {
				t.Errorf("table (-lsblk +ours):\n%s", diff)
			}
			want = lsblk(t, "--sysroot", root, "--json", "--bytes", "--output-all")
			// Below another root, lsblk asks no udev (nor for serial numbers), finds no SCSI host and has the
			// sizes of this machine's own file systems: those are checked in TestFacts
			// and TestGoogleMachine.
			compareJSON(t, comparison{before: want, after: want, devices: devices,
				silent: slices.Concat(fromUdev, []string{"wwn", "tran"}), skip: slices.Concat(moving, []string{"fssize", "serial"})})
		})
	}
}

// TestHost compares with lsblk on the machine that the test runs on.
func TestHost(t *testing.T) { compareHost(t, Host(), lsblk) }

// compareHost compares ours with lsblk's answers before and after it. Other
// programs of the machine make and remove devices too: only where lsblk says
// the same twice has ours to be the same.
func compareHost(t *testing.T, roots Roots, lsblk func(*testing.T, ...string) []byte) []Device {
	t.Helper()
	for range 20 {
		text := lsblk(t)
		before := lsblk(t, "--json", "--bytes", "--output-all")
		devices, err := Discover(t.Context(), roots)
		if err != nil {
			t.Fatal(err)
		}
		after := lsblk(t, "--json", "--bytes", "--output-all")
		if !bytes.Equal(text, lsblk(t)) {
			continue
		}
		if diff := cmp.Diff(string(text), table(t, devices)); diff != "" {
			t.Errorf("table (-lsblk +ours):\n%s", diff)
		}
		compareJSON(t, comparison{before: before, after: after, devices: devices, silent: silent(roots)})
		return devices
	}
	t.Skip("devices of this machine come and go too fast to compare")
	return nil
}

func table(t *testing.T, devices []Device) string {
	t.Helper()
	var b bytes.Buffer
	if err := Table(&b, devices, 0); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func lsblk(t *testing.T, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("lsblk")
	if err != nil {
		t.Skip("no lsblk to compare with: ", err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	return output(t, cmd)
}

// output runs lsblk, which takes the machine for UTF-8 and its sizes for C's.
func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			stderr = string(exit.Stderr)
		}
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr)
	}
	return out
}

// comparison is one of lsblk's JSON with ours, field by field.
type comparison struct {
	before, after []byte // lsblk's, around ours: what moves has to be between
	devices       []Device
	silent        []string // fields of which lsblk may know nothing
	skip          []string // fields that are not compared
}

type object = map[string]any

// fields of ours that lsblk does not have.
var ours = []string{"by-id", "by-path", "holders", "back-file", "disk-name", "children"}

// fields that lsblk knows from udev only.
var fromUdev = []string{
	"fstype", "fsver", "label", "uuid", "pttype", "ptuuid",
	"parttype", "partuuid", "partlabel", "partflags",
}

// fields that change while one looks.
var moving = []string{"fsused", "fsavail", "fsuse%"}

// silent are the fields that lsblk knows nothing of without a udev database.
func silent(roots Roots) []string {
	if _, err := fs.Stat(roots.Udev, "data"); err == nil {
		return nil
	}
	return fromUdev
}

func compareJSON(t *testing.T, c comparison) {
	t.Helper()
	data, err := json.Marshal(Report(c.devices))
	if err != nil {
		t.Fatal(err)
	}
	got, before, after := flatten(t, data), flatten(t, c.before), flatten(t, c.after)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("devices (-lsblk +ours):\n%s", diff)
	}
	compared := 0
	for name, mine := range got {
		theirs, later := before[name], after[name]
		if theirs == nil || later == nil {
			continue // reported above, or gone
		}
		for key, value := range mine {
			want, ok := theirs[key]
			switch {
			case slices.Contains(ours, key), slices.Contains(c.skip, key):
				continue
			case !ok:
				t.Errorf("%s: lsblk has no field %q", name, key)
				continue
			case want == nil && slices.Contains(c.silent, key):
				continue
			case want == nil && key == "fstype" && mine["fssize"] != nil:
				continue // from the mount table
			case want == nil && (key == "tran" && value == "virtio" || key == "serial" && strings.HasPrefix(name, "vd")):
				continue // newer lsblk says so too
			case slices.Contains(moving, key):
				if !near(value, want, later[key], mine["fssize"]) {
					t.Errorf("%s: %s is %v, lsblk says %v and then %v", name, key, value, want, later[key])
				}
			case !reflect.DeepEqual(want, later[key]):
				continue // somebody else's device, in the middle of a change
			case !reflect.DeepEqual(value, trimmed(want)):
				t.Errorf("%s: %s is %#v, lsblk says %#v", name, key, value, want)
			}
			compared++
		}
	}
	t.Logf("%d devices, %d fields compared", len(got), compared)
}

// near reports whether v is what lsblk said before or after, between the two,
// or off by no more than a hundredth of the file system: others write to it
// meanwhile.
func near(v, before, after, size any) bool {
	x, ok1 := amount(v)
	y, ok2 := amount(before)
	z, ok3 := amount(after)
	of, ok4 := amount(size)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return v == before || v == after
	}
	if _, percent := v.(string); percent {
		of = 100
	}
	return x >= min(y, z)-of/100 && x <= max(y, z)+of/100
}

// amount is the number that v is: of bytes, or of percent, which lsblk writes as
// a string.
func amount(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		n, percent := strings.CutSuffix(v, "%")
		x, err := strconv.ParseFloat(n, 64)
		return x, percent && err == nil
	}
	return 0, false
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		v, before, after any
		want             bool
	}{
		{"20%", "15%", "23%", true}, // written to meanwhile
		{"20%", "23%", "15%", true},
		{"14%", "15%", "23%", true}, // rounded
		{"13%", "15%", "23%", false},
		{"25%", "15%", "23%", false},
		{"20%", nil, nil, false},
		{nil, nil, nil, true},
		{500.0, 400.0, 600.0, true},
		{391.0, 400.0, 400.0, true},
		{389.0, 400.0, 400.0, false},
		{nil, 400.0, 400.0, false},
		{nil, nil, 400.0, true},
	} {
		if got := near(c.v, c.before, c.after, 1000.0); got != c.want {
			t.Errorf("near(%v, %v, %v) is %v", c.v, c.before, c.after, got)
		}
	}
}

// trimmed takes off the blanks that SCSI fills its names with; lsblk keeps them.
func trimmed(v any) any {
	if s, ok := v.(string); ok {
		return strings.TrimSpace(s)
	}
	return v
}

// flatten makes a map of the tree, by the way from the root: "vda/vda1".
func flatten(t *testing.T, data []byte) map[string]object {
	t.Helper()
	var doc struct{ BlockDevices []object }
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	flat := map[string]object{}
	var walk func(prefix string, o object)
	walk = func(prefix string, o object) {
		name := prefix + fmt.Sprint(o["kname"])
		flat[name] = o
		children, _ := o["children"].([]any)
		for _, c := range children {
			walk(name+"/", c.(object))
		}
	}
	for _, o := range doc.BlockDevices {
		walk("", o)
	}
	return flat
}
