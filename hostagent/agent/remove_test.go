// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
)

// A removal is of the cluster that the records say, or of none: where an earlier run was
// interrupted after it had removed them. Damaged ones end it.
func TestRemovalRecords(t *testing.T) {
	spec := machineSpec()
	const other = "00000000-7a53-4c1e-9a55-0f5b3d1c2e4f"
	claim := func(id string) string {
		return `{"format": "holdfast-node", "version": 1, "cluster": {"name": "orders", "id": "` + id + `"}, "node": "a"}`
	}
	for _, tc := range []struct {
		name, claim string
		spec        bool
		id          string
		says        string // of the refusal
	}{
		{"nothing is there", "", false, spec.Cluster.ID, ""},
		{"ours", claim(spec.Cluster.ID), true, spec.Cluster.ID, ""},
		{"without a claim", "", true, spec.Cluster.ID, ""},
		{"claimed, never made", claim(spec.Cluster.ID), false, spec.Cluster.ID, ""},
		{"a node of another cluster", "", true, other, "it is a node of the cluster"},
		{"claimed for another cluster", claim(spec.Cluster.ID), false, other, "claimed for the cluster"},
		{"damaged", "{", true, spec.Cluster.ID, "node.json"},
		{"neither claim nor spec", "", false, spec.Cluster.ID, "nobody can say whose node it is"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.claim != "" {
				if err := os.WriteFile(filepath.Join(dir, claimFile), []byte(tc.claim), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.name == "neither claim nor spec" {
				if err := os.Mkdir(filepath.Join(dir, pkiDir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600); err != nil { // of an interrupted removal
				t.Fatal(err)
			}
			if tc.spec {
				if err := atomicfile.WriteJSON(filepath.Join(dir, specFile), specRecord{format, spec}); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Removal{ClusterID: tc.id, Dir: dir}.records()
			if tc.says != "" {
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || (got != nil) != tc.spec {
				t.Errorf("%v %v", got, err)
			}
		})
	}
}

// The claim outlives the records: the provider takes it away when all nodes are removed.
// So does whatever is not the agent's. Seen to fail with all of the directory removed.
func TestRemovalForgets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "holdfast")
	theirs := filepath.Join(dir, "data", "store", "wal")
	for _, name := range []string{"pki/ca.key", specFile, storesFile, storesFile + ".new", claimFile, "data/store/wal"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var said []string
	r := Removal{Dir: dir, Report: func(s string) { said = append(said, s) }}
	for range 2 {
		if err := r.forget(); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 2 || left[0].Name() != "data" || left[1].Name() != claimFile {
			t.Errorf("left: %v %v", left, err)
		}
		if _, err := os.Stat(theirs); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"remove the records in " + dir}, said); diff != "" {
		t.Errorf("the second time there is nothing to say: %s", diff)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, claimFile)), os.RemoveAll(filepath.Join(dir, "data"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.forget(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory is left: %v", err)
	}
}

// A directory that lies on no disk of the spec is not the agent's to remove: it is named.
func TestRemovalLeaves(t *testing.T) {
	spec := machineSpec()
	spec.Stores = append(spec.Stores, agentapi.StoreSpec{Path: t.TempDir()})
	var said []string
	Removal{Report: func(s string) { said = append(said, s) }}.leftDirectories(spec)
	if len(said) != 1 || !strings.Contains(said[0], spec.Stores[1].Path) {
		t.Errorf("%v", said)
	}
}

// The engine's configuration is removed where it is the cluster's, with what else the agent
// put there, and nothing else. Seen to fail with all of /etc/holdfast removed.
func TestRemovalConfiguration(t *testing.T) {
	spec := machineSpec()
	r := Removal{ClusterID: spec.Cluster.ID}
	for _, tc := range []struct {
		name, text string
		known      bool
		says       string
	}{
		{"none", "", false, ""},
		{"ours", `{"cluster": {"name": "orders", "id": "` + spec.Cluster.ID + `"}}`, false, ""},
		{"made from the spec", "{", true, ""},
		{"another cluster's", `{"cluster": {"name": "other", "id": "1"}}`, false, `is of the cluster "other"`},
		{"run by hand", `{"node_name": "a"}`, false, "is of the cluster"},
		{"damaged", "{", false, "nobody can say whose"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at := place{dir: filepath.Join(t.TempDir(), "etc"), uid: -1, gid: -1}
			files := []string{"logs.yaml", "certs/theirs.crt", "certs/node.key", "certs/node.crt.new", "engine.json.new"}
			for _, name := range files {
				path := filepath.Join(at.dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if tc.text != "" {
				if err := os.WriteFile(filepath.Join(at.dir, engineFile), []byte(tc.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := r.configuration(at, tc.known)
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("%v", err)
			}
			if ferr := at.foreign(false); (ferr != nil) != (tc.text != "") || at.foreign(true) != nil {
				t.Errorf("without a record: %v", ferr)
			}
			if err := at.clear(); err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, name := range append(files, engineFile) {
				if _, err := os.Stat(filepath.Join(at.dir, name)); err == nil {
					left = append(left, name)
				}
			}
			if diff := cmp.Diff([]string{"logs.yaml", "certs/theirs.crt"}, left); diff != "" {
				t.Error(diff)
			}
		})
	}
}
