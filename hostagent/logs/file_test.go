// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

// Files are put aside when they are full, the oldest are removed, and what is left
// together is the end of the log, within the size of the group. Other files, those
// of a group with a longer name among them, are left alone. With names from the clock
// alone, files that were put aside within a microsecond replaced each other.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfstest.NewMem("/d")
		others := []string{"holdfast.conf.log", "holdfast-x.20000101T000000.000000Z.log", "holdfast.20000101T000000.000000Z.log.gz", "raft.db"}
		for _, name := range others {
			if err := vfs.WriteFileAtomic(disk, "/d/"+name, []byte("n=999999\n")); err != nil {
				t.Fatal(err)
			}
		}
		const text = "file-defaults: {dir: /d, max-file-size: 1KiB, max-group-size: 4KiB}"
		b := open(t, disk, 0, text)
		for i := range 100 {
			b.lines(i, 1)
			b.flush()
			if i%7 == 0 {
				time.Sleep(time.Second) // some are put aside within one microsecond
			}
		}
		b.close()
		b = open(t, disk, 0, text) // it goes on with the file that is there
		b.lines(100, 100)
		b.close()

		names, err := disk.List("/d")
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		total := 0
		current := content(t, disk, "/d/holdfast.log")
		for _, name := range names {
			log := content(t, disk, filepath.Join("/d", name))
			if strings.HasPrefix(name, "holdfast.2") && strings.HasSuffix(name, "Z.log") {
				all.WriteString(log)
				total += len(log)
				if len(log) > 1<<10 || len(log) < 900 {
					t.Errorf("%s has %d bytes", name, len(log))
				}
			}
		}
		all.WriteString(current)
		total += len(current)
		if got := story(all.String()); !strings.HasSuffix(got, "..199") || strings.Contains(got, " ") {
			t.Errorf("what is left: %s in %q", got, names)
		}
		if total > 4<<10 || total < 3<<10 {
			t.Errorf("%d bytes are left", total)
		}
		for _, name := range others {
			if got := content(t, disk, "/d/"+name); got != "n=999999\n" {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}

// A rotation from outside: the old file gets lines until SIGHUP, the new one after.
// A file that was cut gets no hole.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	b := open(t, vfs.OS{}, 0, "file-defaults: {dir: "+filepath.Join(dir, "logs")+", file-permissions: 640}")
	path := filepath.Join(dir, "logs", "holdfast.log")
	file := func(path string) string {
		t.Helper()
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return story(string(log))
	}
	b.lines(0, 3)
	b.flush()
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	b.lines(3, 3)
	b.flush()
	b.logs.Reopen()
	b.lines(6, 3)
	b.flush()
	if got := file(path+".old") + ", " + file(path); got != "0..5, 6..8" {
		t.Error(got)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	b.lines(9, 3)
	b.close()
	log, err := os.ReadFile(path)
	if err != nil || strings.ContainsRune(string(log), 0) || story(string(log)) != "9..11" {
		t.Errorf("%q %v", log, err)
	}
	modes := map[string]os.FileMode{}
	for _, p := range []string{filepath.Dir(path), path} {
		fi, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		modes[filepath.Base(p)] = fi.Mode().Perm()
	}
	if d := cmp.Diff(map[string]os.FileMode{"logs": 0o700, "holdfast.log": 0o640}, modes); d != "" {
		t.Error(d)
	}
}
