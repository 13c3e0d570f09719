// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Errors that the client returns, wrapped.
var (
	// ErrNotFound: Get found no such key. A list of nothing is no error.
	ErrNotFound = errors.New("no such key")
	// ErrNotReached: no address could be connected to; the request was not
	// sent to any node.
	ErrNotReached = errors.New("no node could be reached")
	// ErrOutcomeUnknown: the write was sent and its answer did not come. It
	// may be applied, now or in a moment. Read before you repeat it.
	ErrOutcomeUnknown = errors.New("the outcome of the write is unknown")
)

// Error is an answer of a node other than success.
type Error struct {
	Status int    // HTTP status code
	Method string // of the request
	Path   string
	Node   string // host:port that answered
	Body   string // what the node says of it
}

// Error is the node's own text, and where it comes from.
func (e *Error) Error() string {
	body := strings.TrimSpace(e.Body)
	if body == "" {
		body = http.StatusText(e.Status)
	}
	return fmt.Sprintf("%s %s at %s: %d: %s", e.Method, e.Path, e.Node, e.Status, body)
}

// maxErrorBody is how much of an error's text is kept.
const maxErrorBody = 16 << 10

func newError(req *http.Request, resp *http.Response) *Error {
	// What could be read of the text is better than nothing.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	return &Error{Status: resp.StatusCode, Method: req.Method, Path: req.URL.Path, Node: req.URL.Host, Body: string(body)}
}

// notConnected tells whether a request failed before there was a connection.
func notConnected(err error) bool {
	var op *net.OpError
	var dial *dialError
	return errors.As(err, &dial) || errors.As(err, &op) && op.Op == "dial"
}

// dialError marks what came out of Config.DialContext.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }
