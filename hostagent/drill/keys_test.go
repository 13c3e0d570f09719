// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
)

func TestVerify(t *testing.T) {
	k := newKeys()
	lost := errors.New("no answer")
	ops := []pace.Op{{Client: 0, Seq: 0}, {Client: 0, Seq: 1}, {Client: 0, Seq: 2, Err: lost}, {Client: 1, Seq: 0}}
	pair := func(client, seq int) api.KVPair {
		key := k.key(client, seq)
		return api.KVPair{Key: key, Value: value(key), CreateIndex: 5, ModifyIndex: 5}
	}
	all := map[string][]api.KVPair{k.of(0): {pair(0, 0), pair(0, 1)}, k.of(1): {pair(1, 0)}}
	for _, tc := range []struct {
		name string
		read func(round int, prefix string) ([]api.KVPair, error)
		want NodeResult
	}{
		{"right", func(_ int, p string) ([]api.KVPair, error) { return all[p], nil }, NodeResult{Keys: 3}},
		{"what failed may be there", func(_ int, p string) ([]api.KVPair, error) { return append([]api.KVPair{pair(0, 2)}, all[p]...), nil }, NodeResult{Keys: 3}},
		{"behind, then right", func(round int, p string) ([]api.KVPair, error) {
			if round < 10 {
				return nil, nil
			}
			return all[p], nil
		}, NodeResult{Keys: 3}},
		{"unreachable, then right", func(round int, p string) ([]api.KVPair, error) {
			if round < 10 {
				return nil, lost
			}
			return all[p], nil
		}, NodeResult{Keys: 3}},
		{"lost", func(_ int, p string) ([]api.KVPair, error) {
			if p == k.of(1) {
				return nil, nil
			}
			return all[p], nil
		}, NodeResult{Keys: 2, Missing: 1}},
		{"another value", func(_ int, p string) ([]api.KVPair, error) {
			if p == k.of(1) {
				return []api.KVPair{{Key: k.key(1, 0), Value: value(k.key(0, 0))}}, nil
			}
			return all[p], nil
		}, NodeResult{Keys: 2, Wrong: 1}},
		{"applied twice", func(_ int, p string) ([]api.KVPair, error) {
			if p == k.of(1) {
				return []api.KVPair{{Key: k.key(1, 0), Value: value(k.key(1, 0)), CreateIndex: 5, ModifyIndex: 6}}, nil
			}
			return all[p], nil
		}, NodeResult{Keys: 2, Twice: 1}},
		{"unreachable", func(int, string) ([]api.KVPair, error) { return nil, lost }, NodeResult{Error: "no answer"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, got, reads := time.Now(), NodeResult{}, 0
				k.verify(t.Context(), func(_ context.Context, prefix string) ([]api.KVPair, error) {
					reads++
					return tc.read(reads, prefix)
				}, byClient(ops), &got)
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Error(diff)
				}
				if took := time.Since(began); took > verifyBound+verifyPause {
					t.Errorf("it took %v", took)
				}
				if right := got.right(3); right != (tc.want.Keys == 3) {
					t.Errorf("right is %v", right)
				}
			})
		})
	}
}

func TestKeysDiffer(t *testing.T) {
	a, b := newKeys(), newKeys()
	if a.prefix == b.prefix {
		t.Errorf("two drills use %s", a.prefix)
	}
	if v := value(a.key(1, 2)); len(v) != valueSize || string(v) == string(value(a.key(2, 1))) {
		t.Errorf("value %q", v)
	}
}
