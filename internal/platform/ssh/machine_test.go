// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

// machine is a machine of the tests: an sshd in mount and pid namespaces of its own, where
// everything below /var/lib, /usr/local/bin, /etc/systemd/system, /run and /srv is its alone. What
// was started on it ends with it.
type machine struct {
	*sshdtest.Server
	pid int // of its first process
}

// setup makes the machine's places and waits for the end of its input: the end of
// the test, or of its process.
const setup = `set -e
# Disks of others' tests, mounted by then, are let go: copies of their mounts would hold them.
while read -r source point _; do
  case $source in /dev/loop*) umount -l "$point" ;; esac
done < /proc/self/mounts
for d in /var/lib /usr/local/bin /etc/systemd/system /run /srv; do
  mkdir -p $d
  mount -t tmpfs -o mode=755 machine $d
done
mkdir -p /run/sshd /run/systemd/system
mount --bind "$1" /etc/machine-id
echo ready
exec cat`

// systemctl is of a machine that systemd started.
var systemd = map[string]string{"systemctl": `echo "systemd 252 (252.39-1~deb12u1)"`}

// The user that is not root, as in package sshhost's tests; sshd opens no sockets for it.
const notRoot = `[ "$1" = -u ] && echo 1000 || exec /usr/bin/id "$@"`

// programs are systemd and more.
func programs(more map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range []map[string]string{systemd, more} {
		for name, script := range m {
			all[name] = script
		}
	}
	return all
}

var machineNumber atomic.Int32

func startMachine(t *testing.T, o sshdtest.Options) *machine {
	t.Helper()
	sshdtest.Program(t)
	if os.Geteuid() != 0 {
		t.Skip("only root makes namespaces that are machines")
	}
	id := filepath.Join(t.TempDir(), "machine-id")
	if err := os.WriteFile(id, []byte(fmt.Sprintf("%08x%024x\n", machineNumber.Add(1), os.Getpid())), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = os.Mkdir("/srv", 0o755)
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", setup, "machine", id)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Signal(syscall.SIGKILL) // --kill-child: with it all of the machine
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Skipf("no namespaces can be made here: %q, %v", line, err)
	}
	pid, err := child(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if o.Path == "" {
		o.Path = sshdtest.Stubs(t, systemd)
	}
	o.Enter = []string{"nsenter", "--mount", "--pid", "--target", fmt.Sprint(pid)}
	return &machine{Server: sshdtest.Start(t, o), pid: pid}
}

// child is the only child of a process.
func child(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, err
	}
	var first int
	_, err = fmt.Sscan(string(b), &first)
	return first, err
}

// path is a file of the machine as seen from here.
func (m *machine) path(file string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, file) }

func (m *machine) read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(m.path(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (m *machine) has(t *testing.T, file string) bool {
	t.Helper()
	_, err := os.Lstat(m.path(file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func (m *machine) put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(file)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.path(file), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) record(t *testing.T) *record {
	t.Helper()
	if !m.has(t, recordPath) {
		return nil
	}
	r, err := decodeRecord([]byte(m.read(t, recordPath)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (m *machine) putRecord(t *testing.T, r *record) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, recordPath, string(b))
}

// files are all files of the machine in the places that are its alone, but for those of
// the machine itself and what the stand-in writes down.
func (m *machine) files(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/var/lib", "/usr/local/bin", "/etc/systemd/system", "/run", "/srv"} {
		root := m.path(dir)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			name := dir + strings.TrimPrefix(path, root)
			if err == nil && name != dir && !slices.Contains([]string{"/run/sshd", "/run/systemd", "/run/systemd/system", "/run/mount", callsPath}, name) {
				all = append(all, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// calls are the commands of the stand-in that were run on the machine, and forgets them.
func (m *machine) calls(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(m.path(callsPath))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.path(callsPath)); err != nil {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}
