// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	uuidA = "0b0e3a0e-8a3c-4d5e-9f10-1234567890ab"
	uuidB = "1b0e3a0e-8a3c-4d5e-9f10-1234567890ab"
	uuidS = "2b0e3a0e-8a3c-4d5e-9f10-1234567890ab"
)

// hosts are those of the golden files.
func hosts() map[string]Host {
	return map[string]Host{
		"plain": {Node: "a", Stores: []Disk{{Path: "/var/lib/holdfast-store"}}, EngineWanted: true, Systemd: 252},
		"disks": {
			Node: "db1", Stores: []Disk{{"/mnt/holdfast/1", uuidA, "ext4"}}, Side: &Disk{"/mnt/holdfast/side", uuidS, "xfs"},
			Buffering: &agentapi.DefaultBuffering, AgentLog: "/var/log/holdfast-agent.log", EngineWanted: true, Systemd: 257,
		},
		"odd": { // what a person can write and systemd must not take for something else
			Node: `50% of $HOME "x" \n`, Binary: "/opt/hold fast/$bin/100%/holdfast", Config: `/etc/hold\fast/%i.json`,
			Stores: []Disk{{"/mnt/data disk/50%-a", uuidA, "xfs"}, {"/mnt/.ü/$x", uuidB, "ext4"}}, Systemd: 252,
			Previous: []Previous{{"/mnt/the old/100%", "/mnt/the old"}, {Path: "/srv/side"}},
		},
	}
}

func (s Set) text() string {
	var b strings.Builder
	for _, f := range s.Files {
		b.WriteString("==> " + f.Path + "\n" + f.Text + "\n")
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, h := range hosts() {
		t.Run(name, func(t *testing.T) {
			set, err := Make(h)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(set.text()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), set.text()); diff != "" {
				t.Errorf("%s (-update rewrites it):\n%s", path, diff)
			}
		})
	}
}

// systemd itself has no complaint about any unit, and finds the engine's well locked up.
// Seen to fail with $ doubled in the path of a program.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed; scripts/deps.sh installs it")
	}
	for name, h := range hosts() {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			h.Systemd = min(h.Systemd, installed(t, analyze)) // or it would not know all directives
			set, err := Make(h)
			if err != nil {
				t.Fatal(err)
			}
			// systemd looks for the program, under the name that it reads in the unit.
			program := root + h.withDefaults().Binary
			if err := errors.Join(os.MkdirAll(filepath.Dir(program), 0o755), os.Symlink("/bin/true", program)); err != nil {
				t.Fatal(err)
			}
			var paths []string
			for _, f := range set.Files {
				if unit, ok := unitOf(f.Path); ok {
					path := filepath.Join(root, unit)
					text := strings.ReplaceAll(f.Text, `ExecStart="`, `ExecStart="`+root)
					if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					paths = append(paths, path)
				}
				if dropIn, ok := strings.CutPrefix(f.Path, unitDir); ok && f.Path == previousPath {
					path := filepath.Join(root, dropIn)
					if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(f.Text), 0o644)); err != nil {
						t.Fatal(err)
					}
				}
			}
			cmd := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no", "--recursive-errors=no"}, paths...)...)
			cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+root+":/lib/systemd/system:/usr/lib/systemd/system", "LC_ALL=C")
			if out, err := cmd.CombinedOutput(); err != nil || len(strings.TrimSpace(string(out))) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
			cmd = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=25", "--no-pager", filepath.Join(root, EngineUnit))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func installed(t *testing.T, analyze string) int {
	out, err := exec.CommandContext(t.Context(), analyze, "--version").Output()
	var version int
	if _, serr := fmt.Sscanf(string(out), "systemd %d", &version); err != nil || serr != nil {
		t.Fatalf("%v %v: %s", err, serr, out)
	}
	return version
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name  string
		edit  func(*Host)
		field string
	}{
		{"no stores", func(h *Host) { h.Stores = nil }, "stores"},
		{"a line in the node", func(h *Host) { h.Node = "a\nExecStart=/bin/sh" }, "node"},
		{"a carriage return", func(h *Host) { h.Node = "a\rb" }, "node"},
		{"a backslash that joins lines", func(h *Host) { h.Stores[0].Path = `/mnt/a\` }, "stores.0.path"},
		{"a line in a path", func(h *Host) { h.Stores[0].Path = "/mnt/a\n[Service]" }, "stores.0.path"},
		{"not UTF-8", func(h *Host) { h.Stores[0].Path = "/mnt/\xff" }, "stores.0.path"},
		{"relative", func(h *Host) { h.Stores[0].Path = "mnt/a" }, "stores.0.path"},
		{"not in its shortest form", func(h *Host) { h.Stores[0].Path = "/mnt//a" }, "stores.0.path"},
		{"a store that the service does not see", func(h *Host) { h.Stores[0].Path = "/tmp/a" }, "stores.0.path"},
		{"a program that it does not see", func(h *Host) { h.Binary = "/root/holdfast" }, "binary"},
		{"a program that systemd refuses", func(h *Host) { h.Binary = `/opt/"hold"/holdfast` }, "binary"},
		{"too long for a unit", func(h *Host) { h.Stores[0].Path = "/mnt/" + strings.Repeat("-", 70) }, "stores.0.path"},
		{"no UUID", func(h *Host) { h.Stores[0].FSType = "ext4" }, "stores.0.uuid"},
		{"a device as UUID", func(h *Host) { h.Stores[0].UUID, h.Stores[0].FSType = "../sda", "ext4" }, "stores.0.uuid"},
		{"another file system", func(h *Host) { h.Stores[0].UUID, h.Stores[0].FSType = uuidA, "btrfs" }, "stores.0.fstype"},
		{"root's engine", func(h *Host) { h.User = "root" }, "user"},
		{"a user with a line", func(h *Host) { h.User = "a\n" }, "user"},
		{"an old systemd", func(h *Host) { h.Systemd = 251 }, "systemd"},
		{"a pattern for logrotate", func(h *Host) { h.AgentLog = "/var/log/*" }, "agent_log"},
		{"an old side with a line", func(h *Host) { h.Previous = []Previous{{Path: "/mnt/a\n[Service]"}} }, "previous.0.path"},
		{"one directory twice", func(h *Host) { h.Side = &Disk{Path: "/srv/a"} }, "side_disk.path"},
		{"one file system twice", func(h *Host) {
			h.Stores = []Disk{{"/mnt/a", uuidA, "xfs"}, {"/mnt/b", strings.ToUpper(uuidA), "xfs"}}
		}, "stores.1.path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := Host{Node: "a", Stores: []Disk{{Path: "/srv/a"}}, Systemd: 252}
			tc.edit(&h)
			_, err := Make(h)
			if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Field != tc.field {
				t.Errorf("got %v, want a refusal of %s", err, tc.field)
			}
		})
	}
}
