// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// A label such as hf-data1 is the same in every cluster, and a spec may have its store in
// another directory than the one that a foreign disk has it in. So a file system is taken
// for a spec's only with this node's store in it, or with nothing in it yet; and it is
// erased only where it holds nothing else.

// beside are those of a file system's entries that neither the spec nor the making of the
// file system put there, the topmost only. entries are relative to its root, parents
// before what is in them. What is in a store's directory is the store's, where hasStore.
func (w Disk) beside(entries []string, hasStore bool) []string {
	var strange []string
	for _, e := range entries {
		below := func(dir string) bool { return e == dir || strings.HasPrefix(e, dir+"/") }
		switch {
		case below("lost+found") || w.leads(e):
		case hasStore && below(w.StoreDir):
		case path.Dir(e) == w.StoreDir && slices.Contains([]string{"lost+found", store.LockName, store.FileName + ".tmp"}, path.Base(e)): // an interrupted making
		case slices.ContainsFunc(strange, below):
		default:
			strange = append(strange, e)
		}
	}
	return strange
}

// leads reports whether e is one of the spec's directories, or above one.
func (w Disk) leads(e string) bool {
	return slices.ContainsFunc(w.Directories, func(d Directory) bool { return d.Path == e || strings.HasPrefix(d.Path, e+"/") })
}

// depth is how far below the root of its file system something may be in a disk's way.
func (w Disk) depth() int { return 2 + strings.Count(w.StoreDir, "/") }

// entries lists a mounted file system as far as beside has to know it.
func (w Disk) entries(hasStore bool) ([]string, error) {
	var all []string
	var list func(dir string) error
	list = func(dir string) error {
		in, err := os.ReadDir(filepath.Join(w.Mount, dir))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, e := range in {
			name := path.Join(dir, e.Name())
			all = append(all, name)
			if e.IsDir() && w.leads(name) && (!hasStore || name != w.StoreDir) {
				if err := list(name); err != nil {
					return err
				}
			}
		}
		return err
	}
	err := list(".")
	return all, err
}

// inside reads what is in the file system that is mounted for w.
func (c *Content) inside(w Disk) {
	c.setStore(store.Read(filepath.Join(w.Mount, w.StoreDir)))
	entries, err := w.entries(c.Store != nil)
	if err != nil {
		c.StoreErr = err.Error()
		return
	}
	c.Beside = w.beside(entries, c.Store != nil)
}

// few are names for a person, not all of a full disk.
func few(names []string) string {
	const shown = 3
	s := strings.Join(names[:min(len(names), shown)], ", ")
	if len(names) > shown {
		s += " and more"
	}
	return s
}
