// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

// machine is a captured machine: what the capture command recorded.
type machine struct {
	tree      fstest.MapFS
	lsblkText string // empty in composed ones
	lsblkJSON []byte
}

func readMachine(t *testing.T, file string) machine {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := machine{tree: fstest.MapFS{}}
	for _, f := range archive.Files {
		switch {
		case f.Name == "lsblk.txt":
			m.lsblkText = string(f.Data)
		case f.Name == "lsblk.json":
			m.lsblkJSON = f.Data
		case strings.HasSuffix(f.Name, "/"):
			m.tree[strings.TrimSuffix(f.Name, "/")] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		default:
			if name, target, ok := strings.Cut(f.Name, " -> "); ok {
				m.tree[name] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(target)}
				continue
			}
			m.tree[f.Name] = &fstest.MapFile{Mode: 0o444, Data: f.Data}
		}
	}
	return m
}

func (m machine) roots(t *testing.T) Roots {
	t.Helper()
	sub := func(dir string) fs.FS {
		s, err := fs.Sub(m.tree, dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return Roots{
		Sys: sub("sys"), Proc: sub("proc"), Udev: sub("udev"), Dev: sub("dev"),
		Probe: func(_ context.Context, path string) (p Properties, err error) { return p, m.answer("blkid", path, &p) },
		Usage: func(_ context.Context, point string) (u Usage, err error) { return u, m.answer("statfs", point, &u) },
	}
}

func (m machine) answer(kind, about string, value any) error {
	data, err := fs.ReadFile(m.tree, path.Join(kind, about, "answer.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, value)
}

func (m machine) discover(t *testing.T) []Device {
	t.Helper()
	devices, err := Discover(t.Context(), m.roots(t))
	if err != nil {
		t.Fatal(err)
	}
	return devices
}

// materialize writes the tree into a directory, for lsblk --sysroot.
func (m machine) materialize(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range m.tree {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case f.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(string(f.Data), file)
		case f.Mode.IsDir():
			err = os.MkdirAll(file, 0o755)
		default:
			err = os.WriteFile(file, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// captures are the machines of testdata, by name.
func captures(t *testing.T) map[string]machine {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal(errors.New("no captured machines in testdata"))
	}
	all := map[string]machine{}
	for _, f := range files {
		all[strings.TrimSuffix(filepath.Base(f), ".txtar")] = readMachine(t, f)
	}
	return all
}
