// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// FuzzEntryJSON: what is written by hand is what encoding/json makes of the
// wire type.
func FuzzEntryJSON(f *testing.F) {
	f.Add("a/key", []byte("value"), uint64(1), uint64(2), uint64(3), uint64(4))
	f.Add("\"<\\\x00\x7f\xff\u2028é", []byte{}, uint64(1<<63), uint64(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, key string, value []byte, flags, lock, create, modify uint64) {
		if len(value) == 0 {
			value = nil
		}
		want, err := json.Marshal(api.KVPair{Key: key, Value: value, Flags: flags, LockIndex: lock, CreateIndex: create, ModifyIndex: modify})
		if err != nil {
			t.Fatal(err)
		}
		got := appendEntry(nil, &kv.Entry{Key: key, Value: value, Flags: flags, LockIndex: lock, CreateIndex: create, ModifyIndex: modify})
		if !bytes.Equal(got, want) {
			t.Fatalf("\n%s\n%s", got, want)
		}
	})
}

// FuzzParseParams: the same as net/url, parameter by parameter.
func FuzzParseParams(f *testing.F) {
	for _, q := range []string{"raw", "cas=1&flags=2&cas=3", "separator=%2F&keys", "a=b&&=&recurse=", "partition=p+2", "raw=%zz", "stale;x", "flags=&index=0"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		want, wantErr := url.ParseQuery(query)
		p, err := parseParams(query)
		if err != nil {
			return // refused, for whatever reason
		}
		if wantErr != nil {
			t.Fatalf("%q is accepted; net/url says %v", query, wantErr)
		}
		if p.hasCAS != want.Has("cas") || p.cas != want.Get("cas") || p.hasFlags != want.Has("flags") || p.flags != want.Get("flags") ||
			p.raw != want.Has("raw") || p.keys != want.Has("keys") || p.recurse != want.Has("recurse") || p.pretty != want.Has("pretty") ||
			p.consistent != want.Has("consistent") {
			t.Fatalf("%q: %+v, net/url has %v", query, p, want)
		}
	})
}

// noBackend answers at once: what remains is the handlers' own cost.
type noBackend struct {
	Backend
	answer kv.Answer
}

func (b *noBackend) Apply(context.Context, string, kv.Command) (kv.Result, error) {
	return kv.Result{Index: 1, OK: true}, nil
}

func (b *noBackend) Read(context.Context, string, kv.Query, Consistency) (kv.Answer, Meta, error) {
	return b.answer, Meta{Index: 1, KnownLeader: true}, nil
}

// discard is a ResponseWriter that keeps its header map, as net/http would
// hand out a new one.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

func benchmark(b *testing.B, method, target string, value []byte) {
	h := NewHandler(Config{Backend: &noBackend{answer: kv.Answer{Found: true, Index: 1 << 40,
		Entries: []kv.Entry{{Key: "bench/key-00000001", Value: make([]byte, 256), CreateIndex: 5, ModifyIndex: 1 << 40}}}}})
	r := httptest.NewRequest(method, target, bytes.NewReader(value))
	r.Host = "127.0.0.1:8500"
	w := &discard{h: http.Header{}}
	rd := body{bytes.NewReader(value)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		if _, err := rd.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		r.Body = rd
		h.ServeHTTP(w, r)
	}
}

func BenchmarkPut(b *testing.B) {
	benchmark(b, http.MethodPut, "/v1/kv/bench/key-00000001", make([]byte, 256))
}

func BenchmarkPutFlagsCAS(b *testing.B) {
	benchmark(b, http.MethodPut, "/v1/kv/bench/key-00000001?flags=42&cas=7", make([]byte, 256))
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, http.MethodGet, "/v1/kv/bench/key-00000001", nil)
}

func BenchmarkGetStaleRaw(b *testing.B) {
	benchmark(b, http.MethodGet, "/v1/kv/bench/key-00000001?stale&raw", nil)
}

// BenchmarkList100 lists 100 keys of 256 bytes.
func BenchmarkList100(b *testing.B) {
	var a kv.Answer
	for i := range 100 {
		a.Entries = append(a.Entries, kv.Entry{Key: fmt.Sprintf("bench/key-%08d", i), Value: make([]byte, 256)})
	}
	b.ReportAllocs()
	for b.Loop() {
		writeEntries(&discard{h: http.Header{}}, a.Entries, false)
	}
}
