// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// The answers of /v1/kv are written by hand, byte for byte what encoding/json
// makes of api.KVPair (a test compares them): a read is as frequent as a put.

// buffers holds the memory of answers up to maxPooled.
var buffers sync.Pool // of *[]byte

const maxPooled = 64 << 10

func buffer() *[]byte {
	if b, ok := buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func writeRaw(w http.ResponseWriter, value []byte) {
	h := w.Header()
	h["Content-Length"] = []string{strconv.Itoa(len(value))}
	h["Content-Type"] = rawType
	// A value may hold a script: a browser is to show it as text and no more.
	h["X-Content-Type-Options"] = nosniff
	h["Content-Security-Policy"] = sandbox
	_, _ = w.Write(value) // a client that left is no news
}

func writeEntries(w http.ResponseWriter, entries []kv.Entry, pretty bool) {
	buf := buffer()
	b := append((*buf)[:0], '[')
	for i := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEntry(b, &entries[i])
	}
	writeJSONBytes(w, append(b, ']'), pretty, buf)
}

func writeKeys(w http.ResponseWriter, keys []string, pretty bool) {
	buf := buffer()
	b := append((*buf)[:0], '[')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, k)
	}
	writeJSONBytes(w, append(b, ']'), pretty, buf)
}

func appendEntry(b []byte, e *kv.Entry) []byte {
	b = append(b, `{"LockIndex":`...)
	b = strconv.AppendUint(b, e.LockIndex, 10)
	b = append(b, `,"Key":`...)
	b = appendJSONString(b, e.Key)
	b = append(b, `,"Flags":`...)
	b = strconv.AppendUint(b, e.Flags, 10)
	b = append(b, `,"Value":`...)
	if len(e.Value) == 0 {
		b = append(b, `null`...)
	} else {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, e.Value)
		b = append(b, '"')
	}
	b = append(b, `,"CreateIndex":`...)
	b = strconv.AppendUint(b, e.CreateIndex, 10)
	b = append(b, `,"ModifyIndex":`...)
	b = strconv.AppendUint(b, e.ModifyIndex, 10)
	return append(b, '}')
}

// appendJSONString leaves what needs an escape to encoding/json.
func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil { // a string always marshals
				panic(err)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// writeJSON answers with v as encoding/json writes it; for what is not hot.
func writeJSON(w http.ResponseWriter, v any, pretty bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeJSONBytes(w, b, pretty, nil)
	return nil
}

// writeJSONBytes writes b and gives its memory back to the pool through buf,
// where that is not nil.
func writeJSONBytes(w http.ResponseWriter, b []byte, pretty bool, buf *[]byte) {
	out := b
	if pretty {
		var indented bytes.Buffer
		if err := json.Indent(&indented, b, "", "    "); err == nil { // it is valid JSON: it was just made
			indented.WriteByte('\n')
			out = indented.Bytes()
		}
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	if len(out) > 2048 { // net/http counts smaller ones itself
		h["Content-Length"] = []string{strconv.Itoa(len(out))}
	}
	_, _ = w.Write(out) // a client that left is no news
	if buf != nil && cap(b) <= maxPooled {
		*buf = b
		buffers.Put(buf)
	}
}
