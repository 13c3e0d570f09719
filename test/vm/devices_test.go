// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/test/terraform"
)

// uploadBinary uploads bin/holdfast.
func uploadBinary(t *testing.T, m *Machine) {
	t.Helper()
	f, err := os.Open(terraform.Built(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := m.SSH().Upload(t.Context(), "/usr/local/bin/holdfast", 0o755, f); err != nil {
		t.Fatal(err)
	}
}

// testDevices looks at disks of several kinds, mounted and divided.
func testDevices(t *testing.T, m *Machine) {
	uploadBinary(t, m)
	mount(t, m, "side", "ext4", "/side")
	mount(t, m, "bulk", "xfs", "/bulk")
	sh(t, m, "printf 'label: gpt\nsize=1GiB, name=one\n' | sudo sfdisk -q /dev/"+lsblkOf(t, m)["side2"].Name+" && sudo udevadm settle")
	sameDevices(t, m)
	sh(t, m, "sudo umount /side /bulk; sudo wipefs -qa /dev/"+lsblkOf(t, m)["side2"].Name)
}

// sameDevices compares holdfast devices with the guest's lsblk, in every field that
// both have.
func sameDevices(t *testing.T, m *Machine) {
	t.Helper()
	before := flatten(t, sh(t, m, "sudo lsblk --json --output-all --bytes"))
	ours := flatten(t, sh(t, m, "sudo holdfast devices -json"))
	after := flatten(t, sh(t, m, "sudo lsblk --json --output-all --bytes"))
	compared := 0
	for name, mine := range ours {
		theirs, later := before[name], after[name]
		if theirs == nil {
			t.Errorf("%s is not among lsblk's", name)
			continue
		}
		for key, value := range mine {
			want, ok := theirs[key]
			if s, isText := want.(string); isText {
				want = strings.TrimSpace(s) // lsblk keeps the blanks that SCSI fills names with
			}
			switch {
			case want == nil && key == "tran" && value == "virtio": // newer lsblk says so too
			case key == "children" || !ok && slices.Contains([]string{"by-id", "by-path", "holders", "back-file", "disk-name"}, key):
			case !ok:
				t.Errorf("%s: lsblk has no field %q", name, key)
			case !reflect.DeepEqual(theirs[key], later[key]):
				t.Logf("%s: %s moved from %v to %v", name, key, theirs[key], later[key])
			case !reflect.DeepEqual(value, want):
				t.Errorf("%s: %s is %#v, lsblk says %#v", name, key, value, want)
			default:
				compared++
			}
		}
	}
	for name := range before {
		if ours[name] == nil {
			t.Errorf("%s is lsblk's alone", name)
		}
	}
	t.Logf("%d devices, %d fields are the same", len(ours), compared)
	t.Log("\n" + sh(t, m, "holdfast devices"))
}

// flatten makes a map of the tree, by the way from the root: "sdb/sdb1".
func flatten(t *testing.T, data string) map[string]object {
	t.Helper()
	var doc struct{ BlockDevices []object }
	if err := json.Unmarshal([]byte(data), &doc); err != nil {
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
