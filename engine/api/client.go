// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Config says which nodes a client talks to, and how.
type Config struct {
	// Addresses of nodes: "host:port", or a URL of http or https without a
	// path. Any node serves any request; the first is tried first.
	Addresses []string
	// DialContext replaces the dialer, and the environment's proxies with it. Not
	// together with HTTPClient.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Host, where set, is what every node is called by in the header Host, whatever its
	// address: an address that only DialContext understands is not one that a node
	// would answer to.
	Host string
	// TLS is for addresses of https; the system's authorities are trusted by
	// default. Not together with HTTPClient.
	TLS *tls.Config
	// HTTPClient replaces the whole client, transport included.
	HTTPClient *http.Client
}

// Client talks to the nodes of one cluster. Safe for concurrent use.
//
// Where a node cannot be connected to, the next address is tried, and tried
// first from then on; a read is also repeated there when its connection
// breaks. A write whose connection broke after it was sent is never repeated:
// it fails with ErrOutcomeUnknown. There is no timeout but the context's and
// that of connecting.
type Client struct {
	http  *http.Client
	bases []url.URL
	host  string        // for the header; empty is that of the address
	first atomic.Uint32 // the address that last worked
}

// Limits of the default transport. The idle connections per node are as many
// as the busiest program is expected to have requests under way, so that it
// reuses connections rather than making one per request.
const (
	connectTimeout      = 3 * time.Second
	idleConnsPerNode    = 1024
	idleConnTimeout     = 90 * time.Second // below the server's, which would close first
	tlsHandshakeTimeout = 10 * time.Second
)

// New returns a client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("api: Config.Addresses is empty: name at least one node")
	}
	if cfg.HTTPClient != nil && (cfg.DialContext != nil || cfg.TLS != nil) {
		return nil, errors.New("api: Config has HTTPClient and DialContext or TLS: set one of them")
	}
	c := &Client{http: cfg.HTTPClient, host: cfg.Host}
	for _, a := range cfg.Addresses {
		base, err := parseAddress(a)
		if err != nil {
			return nil, err
		}
		c.bases = append(c.bases, base)
	}
	if c.http == nil {
		c.http = &http.Client{Transport: transport(cfg.DialContext, cfg.TLS)}
	}
	return c, nil
}

// Close closes idle connections. Requests under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func transport(dial func(context.Context, string, string) (net.Conn, error), secure *tls.Config) *http.Transport {
	proxy := http.ProxyFromEnvironment
	if dial != nil {
		proxy = nil
	} else {
		dial = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}).DialContext
	}
	plain := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, &dialError{err}
		}
		return conn, nil
	}
	return &http.Transport{
		DialContext:         plain,
		DialTLSContext:      dialTLS(plain, secure),
		TLSClientConfig:     secure, // through a proxy, which DialTLSContext is not asked for
		Proxy:               proxy,
		MaxIdleConnsPerHost: idleConnsPerNode,
		IdleConnTimeout:     idleConnTimeout,
		TLSHandshakeTimeout: tlsHandshakeTimeout,
		DisableCompression:  true,
	}
}

func parseAddress(a string) (url.URL, error) {
	raw := a
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return url.URL{}, fmt.Errorf("api: address %q: %w: write host:port", a, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return url.URL{}, fmt.Errorf("api: address %q: unknown scheme %q: write http or https", a, u.Scheme)
	case u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "":
		return url.URL{}, fmt.Errorf("api: address %q: write host:port and nothing else", a)
	}
	return url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// request is one call, before a node is chosen.
type request struct {
	method string
	path   string // not escaped
	query  url.Values
	body   []byte
}

// do sends the request to the nodes in turn until one answers, and returns
// the answer, its body unread.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotReached, err)
	}
	first := c.first.Load()
	var failures []error
	for i := range c.bases {
		n := (int(first) + i) % len(c.bases)
		u := c.bases[n]
		u.Path, u.RawQuery = r.path, r.query.Encode()
		req := (&http.Request{Method: r.method, URL: &u, Host: cmp.Or(c.host, u.Host), Header: make(http.Header)}).WithContext(ctx)
		setBody(req, r.body)
		resp, err := c.http.Do(req)
		if err == nil {
			if i > 0 {
				c.first.CompareAndSwap(first, uint32(n))
			}
			return resp, nil
		}
		switch {
		case notConnected(err):
		case r.method != http.MethodGet:
			return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
		if ctx.Err() != nil {
			return nil, err
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrNotReached, errors.Join(failures...))
}

func setBody(req *http.Request, body []byte) {
	if len(body) == 0 {
		return
	}
	req.ContentLength = int64(len(body))
	// GetBody lets the transport send again what an idle connection that the
	// node had closed never took.
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody() // never fails
}

// call sends the request and reads all of the answer; found is false for 404.
func (c *Client) call(ctx context.Context, r request) (body []byte, h http.Header, found bool, err error) {
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, nil, false, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to its end
	switch {
	case resp.StatusCode == http.StatusNotFound && strings.HasPrefix(r.path, kvPath) && resp.ContentLength == 0:
		return nil, resp.Header, false, nil
	case resp.StatusCode != http.StatusOK:
		return nil, nil, false, newError(resp.Request, resp)
	}
	body, err = readAll(resp)
	if err != nil && r.method != http.MethodGet {
		return nil, nil, false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return body, resp.Header, true, err
}

// readAll reads a body of known length into one buffer, believing the length
// as far as maxPrealloc.
func readAll(resp *http.Response) ([]byte, error) {
	const maxPrealloc = 1 << 20
	if n := resp.ContentLength; n >= 0 && n <= maxPrealloc {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	return io.ReadAll(resp.Body)
}

// getJSON decodes the answer to a GET into out.
func (c *Client) getJSON(ctx context.Context, path string, query url.Values, out any) error {
	body, _, _, err := c.call(ctx, request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the answer of %s does not parse: %w", path, err)
	}
	return nil
}
