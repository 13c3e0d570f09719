// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package layout

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

func want(id string) Want {
	return Want{Field: "stores.0", Path: "/data/1", Store: &store.Identity{Cluster: "orders", ClusterID: "c1", Node: "a", NodeID: "n1", StoreID: id}}
}

func TestDecide(t *testing.T) {
	ours := store.Identity{Cluster: "orders", ClusterID: "c1", Node: "a", NodeID: "n1", StoreID: "s1"}
	other := func(edit func(*store.Identity)) Found { id := ours; edit(&id); return Found{Store: &id} }
	onDevice := func(w Want) Want { w.Device = "/dev/sdb"; return w }
	for _, tc := range []struct {
		name string
		w    Want
		f    Found
		step Step
		says string // of the refusal
	}{
		{"missing", want(""), Found{Missing: true, StoreErr: store.ErrNoIdentity}, Make, ""},
		{"empty", want(""), Found{StoreErr: store.ErrNoIdentity}, Make, ""},
		{"ours", want("s1"), Found{Store: &ours}, Use, ""},
		{"ours, made before it was recorded", want(""), Found{Store: &ours}, Use, ""},
		{"lost its identity", want("s1"), Found{StoreErr: store.ErrNoIdentity}, Use, "store s1 was here"},
		{"lost altogether", want("s1"), Found{Missing: true, StoreErr: store.ErrNoIdentity}, Use, "store s1 was here"},
		{"another store", want("s2"), Found{Store: &ours}, Use, `store of store id "s1", this one has "s2"`},
		{"another cluster", want(""), other(func(i *store.Identity) { i.ClusterID = "c9" }), Use, `cluster id "c9", this one has "c1"`},
		{"another node", want(""), other(func(i *store.Identity) { i.Node = "b" }), Use, `node "b", this one has "a"`},
		{"somebody's files", want(""), Found{StoreErr: store.ErrForeign}, Use, "not this store's"},
		{"damaged", want("s1"), Found{StoreErr: store.ErrCorrupt}, Use, "damaged"},
		{"a file", want(""), Found{NotDir: true}, Use, "not a directory"},
		{"on its device", onDevice(want("")), Found{Mount: "8:16", Device: "8:16", StoreErr: store.ErrNoIdentity}, Make, ""},
		{"not mounted", onDevice(want("")), Found{Mount: "8:1", Device: "8:16", StoreErr: store.ErrNoIdentity}, Use, "it lies on device 8:1, not on 8:16 (/dev/sdb)"},
		{"device missing", onDevice(want("")), Found{Mount: "8:1", DeviceErr: os.ErrNotExist}, Use, "cannot be looked at"},
		{"side disk", Want{Field: "side_disk", Path: "/side"}, Found{Missing: true}, Make, ""},
		{"side disk there", Want{Field: "side_disk", Path: "/side"}, Found{}, Use, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			step, err := Decide(tc.w, tc.f)
			if tc.says == "" {
				if err != nil || step != tc.step {
					t.Errorf("step %d, %v; want %d", step, err, tc.step)
				}
				return
			}
			e, ok := errors.AsType[*agentapi.Error](err)
			if !ok || !strings.Contains(e.Why, tc.says) || e.Next == "" || !strings.HasPrefix(e.Field, tc.w.Field) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestApply(t *testing.T) {
	dir := t.TempDir()
	w := want("")
	w.Path = filepath.Join(dir, "data", "1")
	id, err := Apply(w)
	if err != nil || id == "" {
		t.Fatal(id, err)
	}
	if again, err := Apply(w); err != nil || again != id {
		t.Fatalf("again: %s %v", again, err)
	}
	if fi, err := os.Stat(w.Path); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", fi, err)
	}
	w.Store.StoreID = id
	if err := os.Rename(w.Path, w.Path+".away"); err != nil { // as when the disk is not mounted
		t.Fatal(err)
	}
	if _, err := Apply(w); err == nil {
		t.Error("an empty store was made in place of an old one")
	}
	if _, err := os.Stat(w.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refusal made something: %v", err)
	}
	side := Want{Field: "side_disk", Path: filepath.Join(dir, "side"), Device: "/dev/null"}
	if _, err := Apply(side); err == nil || !strings.Contains(err.Error(), "not a block device") {
		t.Errorf("a character device: %v", err)
	}
}
