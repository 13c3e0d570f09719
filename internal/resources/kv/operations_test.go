// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	enginekv "github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// TestLimitsAreTheEngines compares the provider's limits with the engine's own.
func TestLimitsAreTheEngines(t *testing.T) {
	if maxKey != enginekv.MaxKeyBytes || maxValue != enginekv.MaxValueBytes {
		t.Errorf("%d and %d bytes, the engine takes %d and %d", maxKey, maxValue, enginekv.MaxKeyBytes, enginekv.MaxValueBytes)
	}
}

// engine is one key behind /v1/kv, and what goes wrong with the next write.
type engine struct {
	mu    sync.Mutex
	pair  *api.KVPair // nil: no such key
	index uint64      // of the last write

	before func(e *engine) // somebody else's write, just before
	after  func(e *engine) // and just after
	lose   bool            // the answer is lost: the connection breaks
	refuse int             // answer with this status and do nothing
}

func (e *engine) set(value string, flags uint64) {
	e.index++
	if e.pair == nil {
		e.pair = &api.KVPair{Key: "k", CreateIndex: e.index}
	}
	e.pair.Value, e.pair.Flags, e.pair.ModifyIndex = []byte(value), flags, e.index
}

func (e *engine) remove() { e.index++; e.pair = nil }

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Method == http.MethodGet {
		w.Header().Set("X-Consul-Index", strconv.FormatUint(max(e.index, 1), 10))
		if e.pair == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode([]api.KVPair{*e.pair}) // the client will say
		return
	}
	body, err := io.ReadAll(r.Body)
	cas, perr := strconv.ParseUint(r.URL.Query().Get("cas"), 10, 64)
	if err != nil || perr != nil { // a write that is no check-and-set must never be sent
		http.Error(w, "not a check-and-set", http.StatusBadRequest)
		return
	}
	if e.refuse != 0 {
		http.Error(w, "No cluster leader", e.refuse)
		return
	}
	if e.before != nil {
		e.before(e)
	}
	var now uint64
	if e.pair != nil {
		now = e.pair.ModifyIndex
	}
	ok := now == cas
	switch {
	case !ok:
	case r.Method == http.MethodDelete:
		e.remove()
	default:
		flags, _ := strconv.ParseUint(r.URL.Query().Get("flags"), 10, 64) // 0 where there are none
		e.set(string(body), flags)
	}
	if e.after != nil {
		e.after(e)
	}
	if e.lose {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, strconv.FormatBool(ok)) // the client will say
}

// at is a model of the key on an engine.
func (e *engine) at(t *testing.T, value string) *model {
	t.Helper()
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	return &model{
		Endpoints: types.MapValueMust(types.StringType, map[string]attr.Value{"a": types.StringValue(s.URL)}),
		Key:       types.StringValue("k"), Value: types.StringValue(value), ValueBase64: types.StringNull(),
		Flags: types.Int64Value(7), Partition: types.StringValue("default"), ModifyIndex: types.Int64Value(0),
	}
}

// TestWrite: a write takes effect on the version that it was meant for, or is an
// error; what became of a lost answer is looked up.
func TestWrite(t *testing.T) {
	const old, mine, theirs = "old", "mine", "theirs"
	other := func(e *engine) { e.set(theirs, 0) }
	for name, tc := range map[string]struct {
		there bool   // the key is there already
		index uint64 // the version to replace
		*engine
		holds string // in the end
		err   error
	}{
		"a new key":                          {holds: mine},
		"a key that is there":                {there: true, index: 1, holds: mine},
		"a new key that is there already":    {there: true, holds: old, err: errTaken},
		"somebody writes first":              {there: true, index: 1, engine: &engine{before: other}, holds: theirs, err: errTaken},
		"somebody deletes first":             {there: true, index: 1, engine: &engine{before: (*engine).remove}, err: errTaken},
		"somebody writes the same first":     {engine: &engine{before: func(e *engine) { e.set(mine, 7) }}, holds: mine, err: errTaken},
		"somebody writes at once":            {engine: &engine{after: other}, holds: theirs, err: errTaken},
		"somebody deletes at once":           {engine: &engine{after: (*engine).remove}, err: errTaken},
		"a lost answer, done":                {engine: &engine{lose: true}, holds: mine},
		"a lost answer, not done":            {there: true, engine: &engine{lose: true}, holds: old, err: api.ErrOutcomeUnknown},
		"a lost answer, and somebody writes": {engine: &engine{lose: true, after: other}, holds: theirs, err: api.ErrOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			e := cmp.Or(tc.engine, &engine{})
			if tc.there {
				e.set(old, 0)
			}
			m := e.at(t, mine)
			err := (&Resource{}).write(t.Context(), m, tc.index)
			if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Errorf("%v, want %v", err, tc.err)
			}
			holds := ""
			if e.pair != nil {
				holds = string(e.pair.Value)
			}
			if holds != tc.holds {
				t.Errorf("it holds %q, want %q", holds, tc.holds)
			}
			if err == nil && m.ModifyIndex.ValueInt64() != int64(e.pair.ModifyIndex) {
				t.Errorf("the version is %v, noted is %v", e.pair.ModifyIndex, m.ModifyIndex)
			}
		})
	}
	t.Run("no leader", func(t *testing.T) {
		e := &engine{refuse: http.StatusInternalServerError}
		err := (&Resource{}).write(t.Context(), e.at(t, mine), 0)
		if err == nil || !unavailable(err) || !strings.Contains(err.Error(), "No cluster leader") {
			t.Error(err)
		}
	})
}

func TestRemove(t *testing.T) {
	for name, tc := range map[string]struct {
		*engine
		gone bool
		err  error
	}{
		"as it was":                  {gone: true},
		"somebody wrote meanwhile":   {engine: &engine{before: func(e *engine) { e.set("theirs", 0) }}, err: errTaken},
		"somebody deleted meanwhile": {engine: &engine{before: (*engine).remove}, gone: true},
		"a lost answer":              {engine: &engine{lose: true}, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := cmp.Or(tc.engine, &engine{})
			e.set("old", 0)
			m := e.at(t, "old")
			m.ModifyIndex = types.Int64Value(1)
			if err := (&Resource{}).remove(t.Context(), m); !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
				t.Errorf("%v, want %v", err, tc.err)
			}
			if gone := e.pair == nil; gone != tc.gone {
				t.Errorf("gone: %t", gone)
			}
		})
	}
}

// TestShow: bytes that are no text are shown as base64, whichever attribute was used.
func TestShow(t *testing.T) {
	text, none := types.StringValue, types.StringNull()
	for name, tc := range map[string]struct {
		inBase64 bool
		bytes    string
		value    types.String
		base64   types.String
	}{
		"text":               {false, "häh", text("häh"), none},
		"no text":            {false, "\xff", none, text("/w==")},
		"text in base64":     {true, "v", none, text("dg==")},
		"nothing":            {false, "", text(""), none},
		"nothing, as base64": {true, "", none, text("")},
	} {
		m := model{Value: text("was"), ValueBase64: none}
		if tc.inBase64 {
			m.Value, m.ValueBase64 = none, text("d2Fz")
		}
		m.show(api.KVPair{Value: []byte(tc.bytes), Flags: 3, ModifyIndex: 9})
		if m.Value != tc.value || m.ValueBase64 != tc.base64 || m.Flags.ValueInt64() != 3 || m.ModifyIndex.ValueInt64() != 9 {
			t.Errorf("%s: %v, %v, flags %v, version %v", name, m.Value, m.ValueBase64, m.Flags, m.ModifyIndex)
		}
		if b, err := m.bytes(); err != nil || string(b) != tc.bytes {
			t.Errorf("%s: written back it is %q, %v", name, b, err)
		}
	}
}

func TestParseID(t *testing.T) {
	for id, want := range map[string]place{
		"local:/srv/orders#app/name":                             {Location: env.Location{Directory: "/srv/orders"}, key: "app/name"},
		"local:/srv/orders#a#b":                                  {Location: env.Location{Directory: "/srv/orders"}, key: "a#b"},
		"http://127.0.0.1:8500#k":                                {endpoints: map[string]string{"n1": "http://127.0.0.1:8500"}, key: "k"},
		"http://127.0.0.1:8500,https://node.example.com:8501#k/": {endpoints: map[string]string{"n1": "http://127.0.0.1:8500", "n2": "https://node.example.com:8501"}, key: "k/"},
		"ssh:a=ops@10.0.0.1,b=ops@10.0.0.2#SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU#a#b": {key: "a#b", Location: env.Location{Machines: map[string]env.Machine{
			"a": {User: "ops", Address: "10.0.0.1", Port: 22},
			"b": {User: "ops", Address: "10.0.0.2", Port: 22, HostKeys: []string{"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}},
		}}},
	} {
		got, err := parseID(id)
		if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(place{})); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", id, err, diff)
		}
	}
	for _, id := range []string{"", "k", "#k", "local:#k", "local:/srv/orders", "local:/srv/orders#", "127.0.0.1:8500#k", "http://127.0.0.1:8500,#k",
		"ssh:a=ops@10.0.0.1#SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"} {
		if p, err := parseID(id); err == nil {
			t.Errorf("%q is %+v", id, p)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("local:/srv/orders#k")
	f.Add("http://127.0.0.1:8500,http://127.0.0.2:8500#k")
	f.Add("local:#")
	f.Add("ssh:a=ops@h#k")
	f.Fuzz(func(t *testing.T, id string) {
		p, err := parseID(id)
		if err != nil {
			return
		}
		if p.key == "" || (p.Directory != "") == (len(p.endpoints) > 0 || p.Machines != nil) || !strings.HasSuffix(id, "#"+p.key) {
			t.Errorf("%q is %+v", id, p)
		}
	})
}
