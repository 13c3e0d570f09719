// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
)

const (
	keyRoot   = "holdfast-drill/"
	valueSize = 256

	verifyBound = time.Minute            // for a node to catch up, and to be read
	verifyPause = 200 * time.Millisecond // before a node is read again
)

// keys are those of one drill: each is written once, with a value that
// follows from its name.
type keys struct{ prefix string }

func newKeys() keys { return keys{keyRoot + strings.ToLower(rand.Text()[:10]) + "/"} }

func (k keys) of(client int) string       { return fmt.Sprintf("%s%d/", k.prefix, client) }
func (k keys) key(client, seq int) string { return fmt.Sprintf("%s%08d", k.of(client), seq) }

func value(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return bytes.Repeat([]byte(hex.EncodeToString(sum[:])), valueSize/64)
}

// list reads the keys below a prefix from one node, from its own memory.
type list func(ctx context.Context, prefix string) ([]api.KVPair, error)

// verify reads the acknowledged operations from one node until it has caught up
// with all, and fills in what it found.
func (k keys) verify(ctx context.Context, read list, acknowledged map[int][]pace.Op, n *NodeResult) {
	ctx, cancel := context.WithTimeout(ctx, verifyBound)
	defer cancel()
	for {
		found, err := k.check(ctx, read, acknowledged)
		if err == nil {
			n.Keys, n.Missing, n.Wrong, n.Twice, n.Error = found.Keys, found.Missing, found.Wrong, found.Twice, ""
		} else if n.Error == "" && n.Keys == 0 { // what was read before counts more
			n.Error = err.Error()
		}
		if err == nil && found.Missing == 0 || ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(verifyPause):
		}
	}
}

func (k keys) check(ctx context.Context, read list, acknowledged map[int][]pace.Op) (NodeResult, error) {
	var n NodeResult
	for client, ops := range acknowledged {
		pairs, err := read(ctx, k.of(client))
		if err != nil {
			return n, err
		}
		there := make(map[string]api.KVPair, len(pairs))
		for _, p := range pairs {
			there[p.Key] = p
		}
		for _, o := range ops {
			key := k.key(client, o.Seq)
			p, ok := there[key]
			switch {
			case !ok:
				n.Missing++
			case !bytes.Equal(p.Value, value(key)):
				n.Wrong++
			case p.CreateIndex != p.ModifyIndex:
				n.Twice++
			default:
				n.Keys++
			}
		}
	}
	return n, nil
}

// byClient sorts out what was acknowledged.
func byClient(ops []pace.Op) map[int][]pace.Op {
	out := map[int][]pace.Op{}
	for _, o := range ops {
		if o.Err == nil {
			out[o.Client] = append(out[o.Client], o)
		}
	}
	return out
}
