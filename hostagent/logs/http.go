// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// httpOutput posts a batch, line by line.
type httpOutput struct {
	HTTP
	client *http.Client
}

func newHTTPOutput(h HTTP) *httpOutput {
	// Its own transport: its connections end with the sink.
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // net/http says so
	return &httpOutput{HTTP: h, client: &http.Client{
		Transport: t, Timeout: h.Timeout,
		// A redirect would take the headers, and what is secret in them, elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// open implements output. A server that is away now may come.
func (o *httpOutput) open(context.Context) error { return nil }

// write implements output. Lines of a request without an answer may come twice.
func (o *httpOutput) write(ctx context.Context, batch []record) (int, error) {
	var body bytes.Buffer
	for _, r := range batch {
		body.Write(r.line)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.Address, &body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	if o.Format == Text {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	for name, value := range o.Headers {
		req.Header.Set(name, value)
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()                      // it was read
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64*kib)) // so that the connection is used again
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return len(batch), nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return 0, fmt.Errorf("the server answers %s", resp.Status)
	default:
		return 0, fmt.Errorf("%w: %s", errRejected, resp.Status)
	}
}

// reopen implements output.
func (o *httpOutput) reopen() {}

// close implements output.
func (o *httpOutput) close() error {
	o.client.CloseIdleConnections()
	return nil
}
