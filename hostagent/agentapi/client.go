// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// ErrUnreachable is returned, wrapped, where no agent answered: no socket,
// nobody listening, a connection that broke, or no answer in time. Whether a
// request that was on its way took effect is then not known; every request of
// this API may be repeated.
var ErrUnreachable = errors.New("the host agent does not answer")

// Error reads as "What: Why. Next", leaving out what is empty.
func (e *Error) Error() string {
	s := e.What
	if e.Why != "" {
		s += ": " + e.Why
	}
	if e.Next != "" {
		s = strings.TrimSuffix(s, ".") + ". " + e.Next
	}
	return s
}

// answerTimeout bounds a call whose context has no deadline.
const answerTimeout = time.Minute

// maxAnswer bounds what is read of an answer.
const maxAnswer = 2 * MaxBody // a status has the spec, indented

// Client speaks to one node's agent. It holds no connection between calls, so
// an agent may come and go. Safe for concurrent use.
type Client struct {
	http  *http.Client
	where string // for messages
}

// NewClient returns a client of the agent that listens on the unix socket at
// path, which may be longer than the kernel's limit for socket addresses.
func NewClient(socketPath string) *Client {
	c := NewClientWithDialer(func(ctx context.Context) (net.Conn, error) { return dialUnix(ctx, socketPath) })
	c.where = " at " + socketPath
	return c
}

// NewClientWithDialer returns a client that reaches the agent through dial,
// which is called once per request.
func NewClientWithDialer(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}}
}

// Status returns what the agent observes on its node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// PutSpec makes spec the node's spec and returns what it changed. A spec that
// is refused changes nothing and gives an *Error. What takes long goes on after it:
// SpecResult.Converging. secrets may be nil.
func (c *Client) PutSpec(ctx context.Context, spec *Spec, secrets Secrets) (SpecResult, error) {
	return call[SpecResult](ctx, c, http.MethodPut, "/v1/spec", SpecRequest{*spec, secrets})
}

// DryRun validates spec and returns what PutSpec would change and do; it changes nothing.
func (c *Client) DryRun(ctx context.Context, spec *Spec, secrets Secrets) (SpecResult, error) {
	return call[SpecResult](ctx, c, http.MethodPut, "/v1/spec?dry_run=1", SpecRequest{*spec, secrets})
}

// Pending returns what the next PutSpec of the spec in force would do.
func (c *Client) Pending(ctx context.Context) (Pending, error) {
	return call[Pending](ctx, c, http.MethodGet, "/v1/pending", nil)
}

// PKI returns what the node holds of the cluster's certificates.
func (c *Client) PKI(ctx context.Context) (PKI, error) {
	return call[PKI](ctx, c, http.MethodGet, "/v1/pki", nil)
}

// MakeCA has the node make a CA: see NewCA.
func (c *Client) MakeCA(ctx context.Context, ca NewCA) (PKI, error) {
	return call[PKI](ctx, c, http.MethodPost, "/v1/pki/ca", ca)
}

// ExportPKI returns the CA with its key, sealed to the recipients.
func (c *Client) ExportPKI(ctx context.Context, to ...string) (PKIBundle, error) {
	return call[PKIBundle](ctx, c, http.MethodPost, "/v1/pki/export", Recipients{to})
}

// ImportPKI gives the node the CA and its key. What it trusts already it goes on
// trusting; its own certificate stays.
func (c *Client) ImportPKI(ctx context.Context, b PKIBundle) (PKI, error) {
	return call[PKI](ctx, c, http.MethodPost, "/v1/pki/import", b)
}

// IssueCertificate makes the node's key and certificate anew, signed by the newest CA.
func (c *Client) IssueCertificate(ctx context.Context) (PKI, error) {
	return call[PKI](ctx, c, http.MethodPost, "/v1/pki/issue", nil)
}

// ForgetCAs has the node trust its newest CA alone. A node whose own certificate is
// of an older one refuses.
func (c *Client) ForgetCAs(ctx context.Context) (PKI, error) {
	return call[PKI](ctx, c, http.MethodPost, "/v1/pki/forget", nil)
}

// Devices returns the block devices of the node as `holdfast devices --json` prints them.
func (c *Client) Devices(ctx context.Context) (json.RawMessage, error) {
	return call[json.RawMessage](ctx, c, http.MethodGet, "/v1/devices", nil)
}

// Start wants the engine running and starts it if it is not.
func (c *Client) Start(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodPost, "/v1/engine/start", nil)
}

// Stop wants the engine stopped, and stops it. That is remembered: neither a
// new agent nor a new spec starts it again, only Start and Restart do.
func (c *Client) Stop(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodPost, "/v1/engine/stop", nil)
}

// Restart stops the engine if it runs and starts it with the configuration in force.
func (c *Client) Restart(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodPost, "/v1/engine/restart", nil)
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTimeout)
		defer cancel()
	}
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer, fmt.Errorf("encode the request: %w", err)
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, reader)
	if err != nil {
		return answer, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer, c.unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer, c.unreachable(ctx, err)
	}
	if resp.StatusCode >= 400 {
		return answer, refusal(method, path, resp.Status, b)
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return answer, fmt.Errorf("%s %s: the agent's answer is not understood (is it of another version?): %w", method, path, err)
	}
	return answer, nil
}

// unreachable classes a failure to get an answer. A call that the caller gave
// up says nothing about the agent.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w%s: %w", ErrUnreachable, c.where, err)
}

func refusal(method, path, status string, body []byte) *Error {
	var e Error
	if err := json.Unmarshal(body, &e); err != nil || e.What == "" {
		e = Error{
			What: fmt.Sprintf("the agent refused %s %s", method, path),
			Why:  strings.TrimSpace(status + " " + string(body[:min(len(body), 200)])),
		}
	}
	return &e
}
