// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

func TestBeside(t *testing.T) {
	d := Disk{StoreDir: "a/store", Directories: []Directory{{Path: "a/store"}}}
	for _, tc := range []struct {
		name     string
		entries  string
		hasStore bool
		want     []string
	}{
		{"a new file system", "lost+found", false, nil},
		{"its check found something", "lost+found lost+found/#12", false, nil},
		{"directories made, no store yet", "lost+found a a/store", false, nil},
		{"a store half made", "a a/store a/store/holdfast-store.json.tmp a/store/holdfast.lock", false, nil},
		{"a store", "a a/store a/store/holdfast-store.json a/store/raft", true, nil},
		{"a store elsewhere", "b b/store b/store/raft", false, []string{"b"}},
		{"files beside a store", "a a/notes a/store a/store/raft dump", true, []string{"a/notes", "dump"}},
		{"a log without an identity", "a a/store a/store/raft", false, []string{"a/store/raft"}},
		{"a name that begins alike", "a a/store2", true, []string{"a/store2"}},
	} {
		if diff := cmp.Diff(tc.want, d.beside(strings.Fields(tc.entries), tc.hasStore)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

// A disk of another cluster has the same label, and its store in another directory: it is
// not adopted, and one that holds more than our store is not erased. Seen to fail without
// Beside in sameStore, and in Proven; and mounted, without inside in mount.
func TestForeignContent(t *testing.T) {
	for fstype, size := range sizes {
		t.Run(fstype, func(t *testing.T) {
			r := newRig(t)
			l := r.loop("data", size)
			d := r.disk(l, fstype)
			other := store.Identity{Cluster: "other", ClusterID: "c2", Node: "x", NodeID: "n9"}
			theirs := d
			theirs.Store = &other
			theirs.StoreDir, theirs.Directories = "theirs", []Directory{{Path: "theirs", Mode: 0o700}}
			r.apply(theirs)
			made := other
			made.StoreID = "s9"
			if err := store.Create(filepath.Join(d.Mount, "theirs"), made); err != nil {
				t.Fatal(err)
			}
			const says = "stores.0.match (%s): want a file system with a store of this node in a/store, or with nothing in it, found theirs"
			r.refused(l, d, says) // mounted
			r.unmount(d.Mount)
			r.refused(l, d, says)
			// What only the mount shows is refused then, and unmounted again.
			sys := newSystem(r.host, nil)
			dev := r.device(l)
			err := sys.mount(t.Context(), Step{Do: MountFS, Field: d.Field, Device: l.path, Number: dev.MajMin(), want: d,
				Mount: &Mount{UUID: dev.UUID, Device: l.path, Where: d.Mount, FSType: fstype, Options: d.options()}})
			if len(Refusals(err)) != 1 {
				t.Errorf("%v", err)
			}
			if _, mounted := r.look(d).at(d.Mount); mounted {
				t.Error("it is mounted")
			}

			r.apply(theirs)
			if err := errors.Join(os.RemoveAll(filepath.Join(d.Mount, "theirs")), os.WriteFile(filepath.Join(d.Mount, "notes"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			id := *d.Store
			id.StoreID = "s1"
			if err := store.Create(filepath.Join(d.Mount, d.StoreDir), id); err != nil {
				t.Fatal(err)
			}
			r.unmount(d.Mount)
			if o, err := Find(t.Context(), r.host, d); err != nil || o == nil || o.Proven || !strings.HasSuffix(o.Reason(), "notes") {
				t.Errorf("%+v %v", o, err)
			}
			if erased, err := Erase(t.Context(), r.host, d); erased || err != nil {
				t.Errorf("%v %v", erased, err)
			}
			r.apply(d) // a node that has its store goes on
		})
	}
}
