// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package mountinfo

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const text = `36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue
22 27 0:21 / /proc rw,relatime - proc proc rw
40 27 0:30 / /x\134y\011z\012 ro - tmpfs  rw
41 27 0:31 / /plus ro - 9p a\043b rw,opt=with space
`
	got, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Table{
		{ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Point: "/mnt 2", Options: "rw,noatime", FSType: "ext3", Source: "/dev/root", SuperOptions: "rw,errors=continue"},
		{ID: 22, Parent: 27, Minor: 21, Root: "/", Point: "/proc", Options: "rw,relatime", FSType: "proc", Source: "proc", SuperOptions: "rw"},
		{ID: 40, Parent: 27, Minor: 30, Root: "/", Point: "/x\\y\tz\n", Options: "ro", FSType: "tmpfs", SuperOptions: "rw"},
		{ID: 41, Parent: 27, Minor: 31, Root: "/", Point: "/plus", Options: "ro", FSType: "9p", Source: "a#b", SuperOptions: "rw,opt=with space"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if !got[2].ReadOnly() || got[0].ReadOnly() {
		t.Errorf("read-only: %v %v, want true false", got[2].ReadOnly(), got[0].ReadOnly())
	}
}

func TestParseKeepsGoodLines(t *testing.T) {
	for name, bad := range map[string]string{
		"short":        "1 2 3:4 / /x rw",
		"no separator": "1 2 3:4 / /x rw a b c d e",
		"cut":          "1 2 3:4 / /x rw a b - ext4 x",
		"id":           "x 2 3:4 / /x rw - ext4 d rw",
		"parent":       "1 x 3:4 / /x rw - ext4 d rw",
		"device":       "1 2 34 / /x rw - ext4 d rw",
		"minor":        "1 2 3:-4 / /x rw - ext4 d rw",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(bad + "\n27 1 254:0 / / rw - ext4 /dev/vda rw\n"))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "line 1") {
				t.Errorf("error %v, want ErrMalformed of line 1", err)
			}
			if len(got) != 1 || got[0].Source != "/dev/vda" {
				t.Errorf("table %+v, want the good line", got)
			}
		})
	}
}

func TestOf(t *testing.T) {
	table := Table{
		{ID: 27, Parent: 1, Point: "/", Source: "initramfs"},
		{ID: 28, Parent: 27, Point: "/", Source: "root"},
		{ID: 30, Parent: 28, Point: "/srv/data", Source: "hidden"},
		{ID: 31, Parent: 28, Point: "/srv", Source: "srv"},
		{ID: 32, Parent: 31, Point: "/srv/store", Source: "below"},
		{ID: 33, Parent: 32, Point: "/srv/store", Source: "top"},
		{ID: 34, Parent: 28, Point: "/var", Source: "var"},
	}
	for path, want := range map[string]string{
		"/":                "root",
		"/etc/passwd":      "root",
		"/srv":             "srv",
		"/srv/data":        "srv", // the mount there was hidden by the later one on /srv
		"/srv/data/deeper": "srv",
		"/srv/store":       "top",
		"/srv/store/raft":  "top",
		"/srv/stores":      "srv",
		"/var/":            "var",
		"/variable":        "root",
		"/var/../srv":      "srv",
	} {
		got, ok := table.Of(path)
		if !ok || got.Source != want {
			t.Errorf("Of(%s) = %q, %v; want %q", path, got.Source, ok, want)
		}
	}
	if m, ok := table.Of("relative"); ok {
		t.Errorf("Of(relative) = %+v, want none", m)
	}
}

// A process in a chroot whose root is no mount point sees no mount of "/".
func TestOfWithoutRoot(t *testing.T) {
	table := Table{
		{ID: 40, Parent: 12, Point: "/proc", Source: "proc"},
		{ID: 41, Parent: 12, Point: "/data", Source: "below"},
		{ID: 42, Parent: 41, Point: "/data", Source: "top"},
	}
	if m, ok := table.Of("/data/x"); !ok || m.Source != "top" {
		t.Errorf("Of(/data/x) = %+v, %v; want top", m, ok)
	}
	if m, ok := table.Of("/etc"); ok {
		t.Errorf("Of(/etc) = %+v, want none", m)
	}
}

// The kernel's own answer is stat's device number.
func TestMountOfAgreesWithStat(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/proc/self/", link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, existing string }{
		{"/proc/self/status", "/proc/self/status"},
		{"/dev", "/dev"},
		{dir, dir},
		{filepath.Join(dir, "not", "yet"), dir},
		{link, "/proc/self/"},
	} {
		m, err := MountOf(tc.path)
		if err != nil {
			t.Errorf("MountOf(%s): %v", tc.path, err)
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(tc.existing, &st); err != nil {
			t.Fatal(err)
		}
		if m.FSType == "btrfs" || m.FSType == "overlay" {
			t.Skipf("%s: stat's device is not the mount's on %s", tc.path, m.FSType)
		}
		if m.Major != unix.Major(st.Dev) || m.Minor != unix.Minor(st.Dev) {
			t.Errorf("MountOf(%s) = %s on %s, stat says %d:%d", tc.path, m.MajMin(), m.Point, unix.Major(st.Dev), unix.Minor(st.Dev))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n"), "/mnt 2/x")
	f.Add([]byte("1 1 0:0 / / rw - a b c\n2 1 0:0 / / rw - a b c\n1 2 0:0 / / rw - a b c\n"), "/")
	f.Add([]byte("1 2 3:4 / /\\1 rw - ext4  rw"), "/")
	f.Add([]byte("\\777 \\0"), "")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		table, err := Parse(data)
		lines := bytes.Count(data, []byte("\n")) + 1
		if len(table) > lines {
			t.Fatalf("%d mounts of %d lines", len(table), lines)
		}
		if err == nil && len(table) == 0 && len(bytes.Trim(data, "\n")) > 0 {
			t.Fatalf("no mount and no error of %q", data)
		}
		if m, ok := table.Of(path); ok && !within(filepath.Clean(path), m.Point) {
			t.Fatalf("Of(%q) = %q", path, m.Point)
		}
	})
}
