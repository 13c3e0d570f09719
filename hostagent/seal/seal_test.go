// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package seal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// machine makes a file system with files of these names.
func machine(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("x"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// files are all below a root, with an = behind those that are empty.
func files(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if fi, err := d.Info(); err == nil && fi.Size() == 0 && d.Type().IsRegular() {
			name += "="
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSeal(t *testing.T) {
	root := machine(t, "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub", "etc/ssh/sshd_config", "etc/machine-id",
		"var/lib/systemd/random-seed", "var/log/journal/0123/system.journal", "var/log/dpkg.log", "run/holdfast-image/provision.record",
		"home/ops/.ssh/authorized_keys", "home/ops/.ssh/known_hosts", "home/eve/.ssh/authorized_keys", "usr/local/bin/holdfast")
	outside := machine(t, "etc/ssh/ssh_host_key")
	if err := os.Symlink("/etc/machine-id", filepath.Join(root, "var/lib/dbus")); err != nil { // a link, of whatever kind, is not followed out
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "var/lib/dhcp")); err != nil {
		t.Fatal(err)
	}
	removed, err := Seal(root, []string{"/home/ops", "/root"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub", "/home/ops/.ssh/authorized_keys",
		"/run/holdfast-image", "/var/lib/systemd/random-seed", "/var/log/journal/0123"}
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Errorf("removed: %s", diff)
	}
	left := []string{"etc/machine-id=", "etc/ssh/sshd_config", "home/eve/.ssh/authorized_keys", "home/ops/.ssh/known_hosts", "usr/local/bin/holdfast",
		"var/lib/dbus", "var/lib/dhcp", "var/log/dpkg.log"}
	if diff := cmp.Diff(left, files(t, root)); diff != "" {
		t.Errorf("left: %s", diff)
	}
	if removed, err := Seal(root, []string{"/home/ops"}); err != nil || len(removed) > 0 {
		t.Errorf("again: %v, %v", removed, err)
	}
	if diff := cmp.Diff([]string{"etc/ssh/ssh_host_key"}, files(t, outside)); diff != "" {
		t.Errorf("outside: %s", diff)
	}
}

// A node is refused before anything is removed.
func TestSealNode(t *testing.T) {
	for _, name := range nodes {
		root := machine(t, name, "etc/machine-id", "etc/ssh/ssh_host_ed25519_key")
		before := files(t, root)
		removed, err := Seal(root, nil)
		if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Next == "" || len(removed) > 0 {
			t.Errorf("%s: %v, %v", name, removed, err)
		}
		if diff := cmp.Diff(before, files(t, root)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
