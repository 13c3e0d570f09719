// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const kvPath = "/v1/kv/"

// Consistency is how a read is served.
type Consistency string

const (
	// Default is served by the leader under its lease.
	Default Consistency = ""
	// Consistent is served by the leader after a majority confirmed it.
	Consistent Consistency = "consistent"
	// Stale is served by whichever node was asked, from its own memory.
	Stale Consistency = "stale"
)

// Read is how to read. The zero value reads the partition "default" with
// default consistency.
type Read struct {
	Consistency Consistency
	Partition   string
}

// Write is how to write. The zero value writes to the partition "default".
type Write struct {
	Flags     uint64 // kept beside the value, for the client's own use
	Partition string
}

// Meta is what a node says of the state that it read from.
type Meta struct {
	// Index of the last change of what was read.
	Index       uint64
	KnownLeader bool
	LastContact time.Duration // since the node heard from its leader; 0 on the leader
	// Effective is the consistency that the read was served with: leader,
	// consistent or stale.
	Effective string
}

// Get reads one key; ErrNotFound where there is none.
func (c *Client) Get(ctx context.Context, key string, o Read) (KVPair, Meta, error) {
	pairs, m, err := c.pairs(ctx, key, o, nil)
	if err == nil && len(pairs) != 1 {
		err = fmt.Errorf("%w: %q", ErrNotFound, key)
	}
	if err != nil {
		return KVPair{}, m, err
	}
	return pairs[0], m, nil
}

// GetValue reads the value of one key and nothing else; ErrNotFound where
// there is none. It costs less than Get.
func (c *Client) GetValue(ctx context.Context, key string, o Read) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	q := o.query()
	q.Set("raw", "")
	body, _, found, err := c.call(ctx, request{method: http.MethodGet, path: kvPath + key, query: q})
	if err == nil && !found {
		err = fmt.Errorf("%w: %q", ErrNotFound, key)
	}
	return body, err
}

// List reads every key under a prefix, in order; none is no error.
func (c *Client) List(ctx context.Context, prefix string, o Read) ([]KVPair, Meta, error) {
	return c.pairs(ctx, prefix, o, url.Values{"recurse": {""}})
}

// Keys lists the names under a prefix, in order, each cut after the first
// separator beyond the prefix where one is given; none is no error.
func (c *Client) Keys(ctx context.Context, prefix, separator string, o Read) ([]string, Meta, error) {
	q := o.query()
	q.Set("keys", "")
	if separator != "" {
		q.Set("separator", separator)
	}
	body, h, found, err := c.call(ctx, request{method: http.MethodGet, path: kvPath + prefix, query: q})
	if err != nil || !found {
		return nil, meta(h), err
	}
	var keys []string
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, meta(h), fmt.Errorf("the keys under %q do not parse: %w", prefix, err)
	}
	return keys, meta(h), nil
}

// Put sets a key.
func (c *Client) Put(ctx context.Context, key string, value []byte, o Write) error {
	_, err := c.write(ctx, http.MethodPut, key, value, o.query())
	return err
}

// CAS sets a key if its ModifyIndex is index, or, with index 0, if there is
// no such key. It tells whether it did.
func (c *Client) CAS(ctx context.Context, key string, value []byte, index uint64, o Write) (bool, error) {
	q := o.query()
	q.Set("cas", strconv.FormatUint(index, 10))
	return c.write(ctx, http.MethodPut, key, value, q)
}

// Delete deletes a key; one that is not there is no error.
func (c *Client) Delete(ctx context.Context, key string, o Write) error {
	_, err := c.write(ctx, http.MethodDelete, key, nil, o.query())
	return err
}

// DeleteCAS deletes a key if its ModifyIndex is index. It tells whether the
// key is gone.
func (c *Client) DeleteCAS(ctx context.Context, key string, index uint64, o Write) (bool, error) {
	q := o.query()
	q.Set("cas", strconv.FormatUint(index, 10))
	return c.write(ctx, http.MethodDelete, key, nil, q)
}

// DeleteTree deletes every key under a prefix: all keys of the partition
// where it is empty.
func (c *Client) DeleteTree(ctx context.Context, prefix string, o Write) error {
	q := o.query()
	q.Set("recurse", "")
	_, err := c.send(ctx, http.MethodDelete, kvPath+prefix, nil, q)
	return err
}

func (c *Client) pairs(ctx context.Context, key string, o Read, more url.Values) ([]KVPair, Meta, error) {
	if more == nil {
		if err := checkKey(key); err != nil {
			return nil, Meta{}, err
		}
	}
	q := o.query()
	for name, v := range more {
		q[name] = v
	}
	body, h, found, err := c.call(ctx, request{method: http.MethodGet, path: kvPath + key, query: q})
	if err != nil || !found {
		return nil, meta(h), err
	}
	var pairs []KVPair
	if err := json.Unmarshal(body, &pairs); err != nil {
		return nil, meta(h), fmt.Errorf("the answer for key %q does not parse: %w", key, err)
	}
	return pairs, meta(h), nil
}

func (c *Client) write(ctx context.Context, method, key string, value []byte, q url.Values) (bool, error) {
	if err := checkKey(key); err != nil {
		return false, err
	}
	return c.send(ctx, method, kvPath+key, value, q)
}

// send sends a write, whose answer is true or false.
func (c *Client) send(ctx context.Context, method, path string, body []byte, q url.Values) (bool, error) {
	answer, _, found, err := c.call(ctx, request{method: method, path: path, query: q, body: body})
	if err != nil {
		return false, err
	}
	var ok bool
	if !found || json.Unmarshal(answer, &ok) != nil {
		return false, fmt.Errorf("%w: %s %s was answered %q, which is neither true nor false", ErrOutcomeUnknown, method, path, answer)
	}
	return ok, nil
}

// checkKey catches the one mistake that would change what a request means.
func checkKey(key string) error {
	if key == "" {
		return fmt.Errorf("api: the key is empty")
	}
	return nil
}

func (o Read) query() url.Values {
	q := url.Values{}
	if o.Consistency != Default {
		q.Set(string(o.Consistency), "")
	}
	if o.Partition != "" {
		q.Set("partition", o.Partition)
	}
	return q
}

func (o Write) query() url.Values {
	q := url.Values{}
	if o.Flags != 0 {
		q.Set("flags", strconv.FormatUint(o.Flags, 10))
	}
	if o.Partition != "" {
		q.Set("partition", o.Partition)
	}
	return q
}

// meta reads the X-Consul headers; what does not parse is zero.
func meta(h http.Header) Meta {
	index, _ := strconv.ParseUint(h.Get("X-Consul-Index"), 10, 64)
	ms, _ := strconv.ParseInt(h.Get("X-Consul-LastContact"), 10, 64)
	return Meta{
		Index:       index,
		KnownLeader: h.Get("X-Consul-KnownLeader") == "true",
		LastContact: time.Duration(ms) * time.Millisecond,
		Effective:   h.Get("X-Consul-Effective-Consistency"),
	}
}
