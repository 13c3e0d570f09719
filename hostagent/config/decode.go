// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/hashicorp/hcl"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// maxFile bounds what is read of one file.
const maxFile = 1 << 20

// Read merges the files in order, later ones over earlier ones, and then every
// *.hcl and *.json of the directories by name. It returns the keys that nobody
// here knows, sorted, beside what it understood.
func Read(files, dirs []string) (f *File, unknown []string, err error) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, nil, unreadable(dir, err)
		}
		for _, e := range entries { // sorted by name
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".hcl" || ext == ".json") {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(files) == 0 {
		return nil, nil, &agentapi.Error{What: "there is no configuration", Why: "no file was named and no directory holds one",
			Next: "Give -config-file FILE or -config-dir DIR with *.hcl or *.json files."}
	}
	f = &File{}
	for _, name := range files {
		b, err := readFile(name)
		if err != nil {
			return nil, nil, unreadable(name, err)
		}
		more, err := Decode(f, b)
		if err != nil {
			return nil, nil, &agentapi.Error{What: "the configuration " + name + " is refused", Why: err.Error(), Next: "Correct the file; `holdfast engine -help` lists the keys."}
		}
		unknown = append(unknown, more...)
	}
	slices.Sort(unknown)
	return f, slices.Compact(unknown), nil
}

func unreadable(name string, err error) error {
	return &agentapi.Error{What: "the configuration cannot be read", Why: err.Error(), Next: "Check the path " + name + " and its permissions."}
}

func readFile(name string) ([]byte, error) {
	h, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.Close() }() // read only
	b, err := io.ReadAll(io.LimitReader(h, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return b, err
}

// Decode reads HCL or JSON over f and returns the keys that are not known.
func Decode(f *File, b []byte) (unknown []string, err error) {
	tree, err := parse(b)
	if err != nil {
		return nil, err
	}
	if err := rename(tree); err != nil {
		return nil, err
	}
	join := f.RetryJoin
	f.RetryJoin = nil
	if _, ok := tree["servers"]; ok { // a list replaces a list, element by element would mix them
		f.Servers = nil
	}
	if _, ok := tree["stores"]; ok {
		f.Stores = nil
	}
	var md mapstructure.Metadata
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Metadata: &md, Result: f, WeaklyTypedInput: true, ZeroFields: false,
		MatchName: func(key, field string) bool { return key == field },
	})
	if err != nil {
		return nil, err
	}
	if err := dec.Decode(tree); err != nil {
		return nil, err
	}
	f.RetryJoin = append(join, f.RetryJoin...) // as Consul does
	return md.Unused, nil
}

func parse(b []byte) (tree map[string]any, err error) {
	if t := bytes.TrimSpace(b); len(t) > 0 && t[0] == '{' {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		if err := dec.Decode(&tree); err != nil {
			return nil, err
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, errors.New("something follows the closing brace")
		}
		return tree, nil
	}
	defer func() { // the HCL parser panics on some malformed input
		if r := recover(); r != nil {
			tree, err = nil, fmt.Errorf("not HCL: %v", r)
		}
	}()
	if err := hcl.Unmarshal(b, &tree); err != nil {
		return nil, err
	}
	return tree, nil
}

// objects are the blocks of which there is one; HCL gives a list of each.
var objects = map[string]bool{
	"cluster": true, "addresses": true, "ports": true, "raft_logstore": true,
	"raft_logstore.verification": true, "raft_logstore.boltdb": true, "raft_logstore.wal": true,
}

// rename merges the lists that HCL makes of blocks and gives Consul's other
// spellings our names.
func rename(tree map[string]any) error {
	for from, to := range map[string]string{"node": "node_name", "bind_address": "bind_addr", "start_join": "retry_join"} {
		if v, ok := tree[from]; ok {
			if _, both := tree[to]; both {
				return fmt.Errorf("%s and %s are the same key: keep one", from, to)
			}
			tree[to] = v
			delete(tree, from)
		}
	}
	return merge(tree, "")
}

func merge(tree map[string]any, prefix string) error {
	for key, v := range tree {
		path := prefix + key
		if !objects[path] {
			continue
		}
		if blocks, ok := v.([]map[string]any); ok {
			one := map[string]any{}
			for _, b := range blocks {
				for k, v := range b {
					if old, ok := one[k].([]map[string]any); ok {
						if more, ok := v.([]map[string]any); ok {
							v = append(old, more...)
						}
					}
					one[k] = v
				}
			}
			v = one
			tree[key] = one
		}
		child, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is a block: write %s { … }", path, strings.TrimPrefix(path, prefix))
		}
		if err := merge(child, path+"."); err != nil {
			return err
		}
	}
	return nil
}
