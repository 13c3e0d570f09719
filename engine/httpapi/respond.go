// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// Header values that every answer shares. Keys are in canonical form, so that
// they may be set without Header.Set's work; nobody writes to the slices.
var (
	jsonType  = []string{"application/json"}
	textType  = []string{"text/plain; charset=utf-8"}
	rawType   = []string{"text/plain"}
	nosniff   = []string{"nosniff"}
	sandbox   = []string{"sandbox"}
	yes       = []string{"true"}
	no        = []string{"false"}
	zero      = []string{"0"}
	backendBQ = []string{"blocking-query"}

	effective = [...][]string{Default: {"leader"}, Consistent: {"consistent"}, Stale: {"stale"}}

	jsonTrue  = []byte("true")
	jsonFalse = []byte("false")
)

// statusError is an answer other than 200 that a handler decided on.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// fail writes an error as Consul does: the text alone, not in JSON.
func fail(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h["Content-Type"] = textType
	h["X-Content-Type-Options"] = nosniff
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that left is no news
}

// failErr turns an error into an answer, by its class.
func (h *handler) failErr(w http.ResponseWriter, err error) {
	var se *statusError
	switch {
	case errors.As(err, &se):
		fail(w, se.status, se.text)
	case errors.Is(err, ErrNoLeader):
		fail(w, http.StatusInternalServerError, ErrNoLeader.Error()) // clients compare the text
	case errors.Is(err, ErrNoPartition):
		fail(w, http.StatusNotFound, err.Error())
	case errors.Is(err, kv.ErrInvalid):
		fail(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, context.Canceled):
		// The client is gone, or the node is going: 503 is read by nobody or
		// by somebody who should try another node.
		fail(w, http.StatusServiceUnavailable, err.Error())
	default:
		h.log.Debug("a request failed", "error", err)
		fail(w, http.StatusInternalServerError, err.Error())
	}
}

// writeMeta sets the X-Consul headers of a read.
func writeMeta(h http.Header, index uint64, m Meta, c Consistency) {
	h["X-Consul-Index"] = []string{strconv.FormatUint(max(index, 1), 10)}
	if m.KnownLeader {
		h["X-Consul-Knownleader"] = yes
	} else {
		h["X-Consul-Knownleader"] = no
	}
	if ms := m.LastContact.Milliseconds(); ms <= 0 {
		h["X-Consul-Lastcontact"] = zero
	} else {
		h["X-Consul-Lastcontact"] = []string{strconv.FormatInt(ms, 10)}
	}
	h["X-Consul-Effective-Consistency"] = effective[c]
	h["X-Consul-Query-Backend"] = backendBQ
}

// resultError is the answer to a command that was refused.
func resultError(r kv.Result) error {
	switch r.Code {
	case kv.CodeOK:
		return nil
	case kv.CodeUnknownSetting, kv.CodeBadValue:
		return &statusError{http.StatusBadRequest, r.Message}
	}
	return &statusError{http.StatusInternalServerError, strings.TrimSpace(r.Message)}
}
