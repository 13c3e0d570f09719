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

// MaxBody bounds the body of a request in bytes.
const MaxBody = 16 << 20

// What the body of a request is.
const (
	aSpec    = "the node spec"
	aRequest = "the request"
)

// Backend is what the handler needs of an agent. Safe for concurrent use. An
// error that is no *Error is answered as a failure of the agent.
type Backend interface {
	// Status never blocks on a disk.
	Status(ctx context.Context) Status
	// PutSpec makes the spec the node's, or with dryRun only says what would change.
	PutSpec(ctx context.Context, spec *Spec, secrets Secrets, dryRun bool) (SpecResult, error)
	Pending(ctx context.Context) (Pending, error)
	// Certificates: see the methods of Client.
	PKI(ctx context.Context) (PKI, error)
	MakeCA(ctx context.Context, ca NewCA) (PKI, error)
	ExportPKI(ctx context.Context, to []string) (PKIBundle, error)
	ImportPKI(ctx context.Context, b PKIBundle) (PKI, error)
	IssueCertificate(ctx context.Context) (PKI, error)
	ForgetCAs(ctx context.Context) (PKI, error)
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
		req, err := decode[SpecRequest](http.MaxBytesReader(w, r.Body, MaxBody), aSpec)
		if err != nil {
			answer(w, nil, err)
			return
		}
		res, err := b.PutSpec(r.Context(), &req.Spec, req.Secrets, dry)
		answer(w, res, err)
	})
	mux.HandleFunc("GET /v1/pending", func(w http.ResponseWriter, r *http.Request) {
		p, err := b.Pending(r.Context())
		answer(w, p, err)
	})
	handlePKI(mux, b)
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

// handlePKI serves what concerns certificates.
func handlePKI(mux *http.ServeMux, b Backend) {
	mux.HandleFunc("GET /v1/pki", func(w http.ResponseWriter, r *http.Request) {
		p, err := b.PKI(r.Context())
		answer(w, p, err)
	})
	mux.HandleFunc("POST /v1/pki/ca", with(b.MakeCA))
	mux.HandleFunc("POST /v1/pki/export", with(func(ctx context.Context, to Recipients) (PKIBundle, error) { return b.ExportPKI(ctx, to.Recipients) }))
	mux.HandleFunc("POST /v1/pki/import", with(b.ImportPKI))
	for name, do := range map[string]func(context.Context) (PKI, error){"issue": b.IssueCertificate, "forget": b.ForgetCAs} {
		mux.HandleFunc("POST /v1/pki/"+name, func(w http.ResponseWriter, r *http.Request) {
			p, err := do(r.Context())
			answer(w, p, err)
		})
	}
}

// with serves a request whose body is a T.
func with[T, A any](do func(context.Context, T) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := decode[T](http.MaxBytesReader(w, r.Body, MaxBody), aRequest)
		if err != nil {
			answer(w, nil, err)
			return
		}
		a, err := do(r.Context(), *body)
		answer(w, a, err)
	}
}

// DecodeSpec reads one spec, refusing what it does not know.
func DecodeSpec(r io.Reader) (*Spec, error) { return decode[Spec](r, aSpec) }

// decode reads one T, refusing what it does not know. noun is what a person calls the text. One that does
// not decode is not repeated in the error: it may hold secrets.
func decode[T any](r io.Reader, noun string) (*T, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	v := new(T)
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err == nil {
		return v, nil
	}
	e := &Error{What: noun + " is refused", Why: err.Error(), Next: "Use the holdfast binary and the provider of one release."}
	if noun == aSpec {
		e.Next = "Compare it with the spec that GET /v1/status shows."
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e.Why, e.Next = fmt.Sprintf("it has more than %d bytes", large.Limit), "Make its provisioning steps and secrets smaller: fetch large files in a shell step."
	}
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		e.Field = t.Field
	}
	return nil, e
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
