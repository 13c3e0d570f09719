// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// errTaken: the key's version is not the one that the write was to replace.
var errTaken = errors.New("the key has another version than expected")

func (m *model) read() api.Read {
	return api.Read{Consistency: api.Consistent, Partition: m.Partition.ValueString()}
}

func (m *model) bytes() ([]byte, error) {
	if !m.ValueBase64.IsNull() {
		return base64.StdEncoding.DecodeString(m.ValueBase64.ValueString())
	}
	return []byte(m.Value.ValueString()), nil
}

// show writes what the cluster holds into the model, as the attribute that the
// model uses; bytes that are no text always as base64.
func (m *model) show(pair api.KVPair) {
	switch {
	case !m.ValueBase64.IsNull(), !utf8.Valid(pair.Value):
		m.Value, m.ValueBase64 = types.StringNull(), types.StringValue(base64.StdEncoding.EncodeToString(pair.Value))
	default:
		m.Value = types.StringValue(string(pair.Value))
	}
	m.Flags = types.Int64Value(int64(pair.Flags))
	m.ModifyIndex = types.Int64Value(int64(pair.ModifyIndex))
}

func (r *Resource) get(ctx context.Context, m *model) (api.KVPair, error) {
	c, err := r.client(ctx, m)
	if err != nil {
		return api.KVPair{}, err
	}
	defer c.Close()
	pair, _, err := c.Get(ctx, m.Key.ValueString(), m.read())
	return pair, err
}

// write replaces the version index of the key, 0 for none, and notes the new one.
func (r *Resource) write(ctx context.Context, m *model, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	value, err := m.bytes()
	if err != nil {
		return fmt.Errorf("value_base64: %w", err)
	}
	c, err := r.client(ctx, m)
	if err != nil {
		return err
	}
	defer c.Close()
	key, flags := m.Key.ValueString(), uint64(m.Flags.ValueInt64())
	ok, err := c.CAS(ctx, key, value, index, api.Write{Flags: flags, Partition: m.Partition.ValueString()})
	if err != nil && !errors.Is(err, api.ErrOutcomeUnknown) && !unavailable(err) {
		return err
	}
	// The version is in no answer to a write, and a lost answer is settled by looking.
	pair, _, gerr := c.Get(ctx, key, m.read())
	ours := gerr == nil && pair.ModifyIndex != index && bytes.Equal(pair.Value, value) && pair.Flags == flags
	switch {
	case ours && (ok || err != nil):
		m.ModifyIndex = types.Int64Value(int64(pair.ModifyIndex))
		return nil
	case err != nil:
		return err
	case !ok:
		return errTaken
	case gerr != nil && !errors.Is(gerr, api.ErrNotFound):
		return fmt.Errorf("it was written, but could not be read back: %w", gerr)
	default:
		return fmt.Errorf("it was written, and somebody else changed it at once: %w", errTaken)
	}
}

// remove deletes the version of the key that the model knows. A key that is gone is gone.
func (r *Resource) remove(ctx context.Context, m *model) error {
	c, err := r.client(ctx, m)
	if err != nil {
		return err
	}
	defer c.Close()
	key := m.Key.ValueString()
	ok, err := c.DeleteCAS(ctx, key, uint64(m.ModifyIndex.ValueInt64()), api.Write{Partition: m.Partition.ValueString()})
	if ok && err == nil {
		return nil
	}
	if _, _, gerr := c.Get(ctx, key, m.read()); errors.Is(gerr, api.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return errTaken
}

// place is where an imported key is: in the cluster of a place, or of endpoints.
type place struct {
	env.Location
	endpoints map[string]string
	key       string
}

// parseID reads LOCATION#KEY and "http://HOST:PORT[,…]#KEY".
func parseID(id string) (place, error) {
	where, key, ok := env.CutLocation(id)
	if !ok || where == "" {
		return place{}, fmt.Errorf("%q does not name a key: write LOCATION#KEY, local:DIRECTORY#KEY for example, or http://HOST:PORT#KEY", id)
	}
	p := place{endpoints: map[string]string{}, key: key}
	for i, a := range strings.Split(where, ",") {
		if !strings.HasPrefix(a, "http://") && !strings.HasPrefix(a, "https://") {
			l, err := env.ParseLocation(where)
			return place{Location: l, key: key}, err
		}
		p.endpoints[fmt.Sprintf("n%d", i+1)] = a
	}
	return p, nil
}
