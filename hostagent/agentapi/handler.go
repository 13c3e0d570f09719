// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxSpec bounds the body of a request.
const maxSpec = 1 << 20

// Backend is what the handler needs of an agent. Safe for concurrent use. An
// error that is no *Error is answered as a failure of the agent.
type Backend interface {
	// Status never blocks on a disk.
	Status(ctx context.Context) Status
	// PutSpec makes the spec the node's, or with dryRun only says what would change.
	PutSpec(ctx context.Context, spec *Spec, dryRun bool) (SpecResult, error)
	Devices(ctx context.Context) (any, error)
	// Start, Stop and Restart come back once it is done, or with what hinders it.
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Restart(ctx context.Context) error
}

// Handler serves the API.
func Handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, b.Status(r.Context()), nil) })
	mux.HandleFunc("GET /v1/devices", func(w http.ResponseWriter, r *http.Request) {
		d, err := b.Devices(r.Context())
		answer(w, d, err)
	})
	mux.HandleFunc("PUT /v1/spec", func(w http.ResponseWriter, r *http.Request) {
		dry, err := dryRun(r)
		if err != nil {
			answer(w, nil, err)
			return
		}
		spec, err := DecodeSpec(http.MaxBytesReader(w, r.Body, maxSpec))
		if err != nil {
			answer(w, nil, err)
			return
		}
		res, err := b.PutSpec(r.Context(), spec, dry)
		answer(w, res, err)
	})
	for name, do := range map[string]func(context.Context) error{"start": b.Start, "stop": b.Stop, "restart": b.Restart} {
		mux.HandleFunc("POST /v1/engine/"+name, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context()); err != nil {
				answer(w, nil, err)
				return
			}
			answer(w, b.Status(r.Context()), nil)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		write(w, &Error{What: fmt.Sprintf("%s %s is not part of the agent's API", r.Method, r.URL.Path),
			Next: "Use the holdfast binary and the provider of one release."})
	})
	return mux
}

func dryRun(r *http.Request) (bool, error) {
	switch v := r.URL.Query().Get("dry_run"); v {
	case "":
		return r.URL.Query().Has("dry_run"), nil
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	default: // never take a change for granted
		return false, &Error{What: "the request is refused", Why: fmt.Sprintf("dry_run = %q: not known", v), Next: "Use dry_run=1 or leave it out.", Field: "dry_run"}
	}
}

// DecodeSpec reads one spec, refusing what it does not know.
func DecodeSpec(r io.Reader) (*Spec, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var s Spec
	err := dec.Decode(&s)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the spec")
		}
	}
	if err != nil {
		e := &Error{What: "the node spec is refused", Why: err.Error(), Next: "Compare it with the spec that GET /v1/status shows."}
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			e.Field = t.Field
		}
		return nil, e
	}
	return &s, nil
}

func answer(w http.ResponseWriter, v any, err error) {
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		write(w, v)
		return
	}
	e, ok := errors.AsType[*Error](err)
	code := http.StatusUnprocessableEntity
	if !ok {
		code = http.StatusInternalServerError
		e = &Error{What: "the agent failed", Why: err.Error(), Next: "See the agent's log."}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	write(w, e)
}

func write(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the caller has gone; there is nobody to tell
}
