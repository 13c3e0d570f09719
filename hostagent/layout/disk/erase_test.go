// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// Erase makes a disk blank that is this node's, and only that one. Seen to fail, one
// by one, without Proven, sameStore, and the comparison of labels.
func TestErase(t *testing.T) {
	for fstype, size := range sizes {
		t.Run(fstype, func(t *testing.T) {
			r := newRig(t)
			l := r.loop("data", size)
			d := r.disk(l, fstype)
			r.apply(d)
			erase := func(d Disk) (bool, error) { return Erase(t.Context(), r.host, d) }
			dir := filepath.Join(d.Mount, d.StoreDir)
			if o, err := Find(t.Context(), r.host, d); err != nil || o == nil || o.Proven || !slices.Equal(o.Mounts, []string{d.Mount}) {
				t.Fatalf("without a store nobody knows whose it is: %+v %v", o, err)
			}
			id := *d.Store
			id.StoreID = "s1"
			if err := store.Create(dir, id); err != nil {
				t.Fatal(err)
			}
			if o, err := Find(t.Context(), r.host, d); err != nil || o == nil || !o.Proven || o.Device != l.path {
				t.Fatalf("%+v %v", o, err)
			}
			if _, err := erase(d); err == nil {
				t.Error("erased while it was mounted")
			}
			r.unmount(d.Mount)
			before := sum(t, l)
			theirs, unlabelled, lost, side := d, d, d, d
			other := id
			other.ClusterID = "c2"
			theirs.Store = &other
			unlabelled.Label = "hf-other"
			side.Store, side.StoreDir, side.Label = nil, "", "hf-other" // another node's
			lost.StoreDir, lost.Directories = "b", []Directory{{Path: "b", Mode: 0o700}}
			if erased, err := erase(theirs); erased || len(Refusals(err)) != 1 {
				t.Errorf("another cluster's: %v %v", erased, err)
			}
			for _, d := range []Disk{unlabelled, lost, side} {
				if erased, err := erase(d); erased || err != nil {
					t.Errorf("another label, no store: %v %v", erased, err)
				}
			}
			if after := sum(t, l); after != before {
				t.Error("something was written")
			}
			for _, want := range []bool{true, false} {
				if erased, err := erase(d); erased != want || err != nil {
					t.Errorf("%v %v, want %v", erased, err, want)
				}
			}
			d.Label = "hf-next"
			r.notes = nil
			r.apply(d)
			r.steps("make", "label", "mount", "directory", "directory")
		})
	}
}
