// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

var (
	kvMethods = []string{http.MethodGet, http.MethodPut, http.MethodDelete}
	kvAllow   = allowValue(kvMethods...)
)

// kv answers /v1/kv/<key>.
func (h *handler) kv(w http.ResponseWriter, r *http.Request, key string) {
	if !allowed(w, r, kvAllow, kvMethods...) {
		return
	}
	var err error
	p := params{partition: "default"}
	if r.URL.RawQuery != "" {
		p, err = parseParams(r.URL.RawQuery)
	}
	switch {
	case err != nil:
	case r.Method == http.MethodPut:
		err = h.put(w, r, key, &p)
	case r.Method == http.MethodDelete:
		err = h.delete(w, r, key, &p)
	case p.keys:
		err = h.getKeys(w, r, key, &p)
	default:
		err = h.get(w, r, key, &p)
	}
	if err != nil {
		h.failErr(w, err)
	}
}

func (h *handler) get(w http.ResponseWriter, r *http.Request, key string, p *params) error {
	q := kv.Query{Kind: kv.QueryGet, Key: key}
	if p.recurse {
		q.Kind = kv.QueryList
	} else if key == "" {
		return errMissingKey
	}
	a, err := h.read(w, r, q, p)
	if err != nil {
		return err
	}
	if len(a.Entries) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	if p.raw && !p.recurse {
		writeRaw(w, a.Entries[0].Value)
		return nil
	}
	writeEntries(w, a.Entries, p.pretty)
	return nil
}

func (h *handler) getKeys(w http.ResponseWriter, r *http.Request, prefix string, p *params) error {
	a, err := h.read(w, r, kv.Query{Kind: kv.QueryKeys, Key: prefix, Separator: p.separator}, p)
	if err != nil {
		return err
	}
	// The root is never "not found", but an empty list.
	if len(a.Keys) == 0 && prefix != "" {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	writeKeys(w, a.Keys, p.pretty)
	return nil
}

// read asks the backend and sets the headers of the answer.
func (h *handler) read(w http.ResponseWriter, r *http.Request, q kv.Query, p *params) (kv.Answer, error) {
	c := p.consistency()
	a, m, err := h.backend.Read(r.Context(), p.partition, q, c)
	if err == nil && c == Stale && p.maxStale > 0 && m.LastContact > p.maxStale {
		c = Default // too old for this client: ask the leader
		a, m, err = h.backend.Read(r.Context(), p.partition, q, c)
	}
	if err != nil {
		return kv.Answer{}, err
	}
	writeMeta(w.Header(), a.Index, m, c)
	return a, nil
}

var errMissingKey = &statusError{http.StatusBadRequest, "Missing key name"}

func (h *handler) put(w http.ResponseWriter, r *http.Request, key string, p *params) error {
	if key == "" {
		return errMissingKey
	}
	cmd := kv.Command{Op: kv.OpPut, Key: key}
	var err error
	if p.hasFlags {
		if cmd.Flags, err = number("flags", p.flags); err != nil {
			return err
		}
	}
	if p.hasCAS {
		cmd.Op = kv.OpCAS
		if cmd.Index, err = number("cas", p.cas); err != nil {
			return err
		}
	}
	if len(key) > kv.MaxKeyBytes { // before the body is read
		return cmd.Validate()
	}
	if cmd.Value, err = readBody(w, r, kv.MaxValueBytes); err != nil {
		return err
	}
	return h.apply(w, r, p, cmd)
}

func (h *handler) delete(w http.ResponseWriter, r *http.Request, key string, p *params) error {
	if p.recurse && p.hasCAS {
		return badRequest("Conflicting flags: %v\n", encodeQuery(r.URL))
	}
	cmd := kv.Command{Op: kv.OpDelete, Key: key}
	switch {
	case p.recurse:
		cmd.Op = kv.OpDeleteTree
	case key == "":
		return errMissingKey
	case p.hasCAS:
		var err error
		cmd.Op = kv.OpDeleteCAS
		if cmd.Index, err = number("cas", p.cas); err != nil {
			return err
		}
	}
	return h.apply(w, r, p, cmd)
}

func (h *handler) apply(w http.ResponseWriter, r *http.Request, p *params, cmd kv.Command) error {
	if err := cmd.Validate(); err != nil {
		return err
	}
	res, err := h.backend.Apply(r.Context(), p.partition, cmd)
	if err == nil {
		err = resultError(res)
	}
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	out := jsonTrue
	if !res.OK && (cmd.Op == kv.OpCAS || cmd.Op == kv.OpDeleteCAS) {
		out = jsonFalse
	}
	if p.pretty {
		out = append(out[:len(out):len(out)], '\n')
	}
	_, _ = w.Write(out) // a client that left is no news
	return nil
}

func number(name, value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, badRequest("?%s=%s is not a whole number of 64 bits: %v", name, value, errors.Unwrap(err))
	}
	return n, nil
}

// encodeQuery is the query as Consul repeats it in an error.
func encodeQuery(u *url.URL) string { return u.Query().Encode() }

// readBody reads a value into a buffer of just its size. A Content-Length is
// believed up to the limit, and what comes without one is read up to it.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	n := r.ContentLength
	if n > limit {
		return nil, tooLarge(n, limit)
	}
	if n == 0 {
		return nil, nil
	}
	if n < 0 || n > 4096 {
		// What fits a packet has come with the header. For the rest a client
		// has bodyTimeout, so that many slow ones cannot hold memory for long.
		rc := http.NewResponseController(w)
		if rc.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil { // else not a connection, but a test
			defer func() { _ = rc.SetReadDeadline(time.Time{}) }() // as it was; a broken connection shows by itself
		}
	}
	if n < 0 {
		b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return nil, bodyError(err)
		}
		if int64(len(b)) > limit {
			return nil, tooLarge(int64(len(b)), limit)
		}
		return b, nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.Body, b); err != nil {
		return nil, bodyError(err)
	}
	return b, nil
}

func bodyError(err error) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf("the body did not arrive: %v", err)}
}

func tooLarge(n, limit int64) error {
	return &statusError{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("Request body(%d bytes) too large, max size: %d bytes. Split the value over several keys.", n, limit)}
}
