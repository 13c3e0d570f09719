// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
)

// Paced writes at a steady rate, every key once, whatever the store does
// meanwhile, and then reads what was acknowledged from every node.
const Paced = "paced"

// Lister reads the keys below a prefix from one node's own memory. A client
// that can do that has it beside Client.
type Lister interface {
	List(ctx context.Context, endpoint int, prefix string) (map[string][]byte, error)
}

// Trace is what a paced load saw, operation by operation.
type Trace struct {
	Ops    []Op   `json:"ops"`
	Unsent int    `json:"unsent"` // due and never begun
	Nodes  []Kept `json:"nodes"`  // by endpoint
}

// Op is one operation; times are of the machine's clock, in nanoseconds of the epoch.
type Op struct {
	Due    int64 `json:"due"`
	Ended  int64 `json:"ended"`
	Failed bool  `json:"failed,omitempty"`
}

// Kept says what a node has of the acknowledged keys.
type Kept struct {
	Keys    int    `json:"keys"`
	Missing int    `json:"missing"`
	Wrong   int    `json:"wrong"`
	Error   string `json:"error,omitempty"`
}

// Bounds of the reads.
const (
	keptBound = 2 * time.Minute // for a node to catch up
	keptPause = 200 * time.Millisecond
)

type paced struct {
	spec    Spec
	clients []Client
	mu      struct {
		sync.Mutex
		ops   []pace.Op
		first error
	}
}

func runPaced(ctx context.Context, spec Spec, client func(int) Client) (Result, error) {
	lister, ok := client(0).(Lister)
	if !ok {
		return Result{}, fmt.Errorf("%w: this system's client cannot list one node's keys", ErrSpec)
	}
	p := &paced{spec: spec}
	for i := range spec.Clients {
		p.clients = append(p.clients, client(i))
	}
	plan := pace.Plan{Clients: spec.Clients, Rate: spec.Rate, Timeout: spec.Timeout}
	l, err := pace.Start(ctx, plan, p.put, p.record)
	if err != nil {
		return Result{}, errors.Join(ErrSpec, err)
	}
	select {
	case <-time.After(spec.Warmup + spec.Duration):
	case <-ctx.Done():
	}
	t := &Trace{Unsent: l.Stop(spec.Timeout)}
	s := pace.Summarize(p.mu.ops)
	r := Result{
		Operations: int64(s.Acknowledged), Errors: int64(s.Errors), Throughput: float64(s.Acknowledged) / (spec.Warmup + spec.Duration).Seconds(),
		P50: s.P50, P99: s.P99, P999: s.P999, Max: s.Worst, Trace: t,
	}
	if p.mu.first != nil {
		r.FirstError = p.mu.first.Error()
	}
	for _, o := range p.mu.ops {
		t.Ops = append(t.Ops, Op{Due: o.Due.UnixNano(), Ended: o.Ended.UnixNano(), Failed: o.Err != nil})
	}
	t.Nodes = make([]Kept, len(spec.Endpoints))
	var wg sync.WaitGroup
	for i := range t.Nodes {
		wg.Go(func() { t.Nodes[i] = p.kept(ctx, lister, i) })
	}
	wg.Wait()
	return r, ctx.Err()
}

func (p *paced) prefix(client int) string   { return fmt.Sprintf("paced/%d/%d/", p.spec.Seed, client) }
func (p *paced) key(client, seq int) string { return fmt.Sprintf("%s%08d", p.prefix(client), seq) }

// value follows from the key, and does not compress.
func (p *paced) value(key string) []byte {
	var value []byte
	for i := 0; len(value) < p.spec.ValueSize; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", key, i))
		value = append(value, sum[:]...)
	}
	return value[:p.spec.ValueSize]
}

func (p *paced) put(ctx context.Context, client, seq int) error {
	key := p.key(client, seq)
	return p.clients[client].Put(ctx, key, p.value(key))
}

func (p *paced) record(o pace.Op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.ops = append(p.mu.ops, o)
	if o.Err != nil && p.mu.first == nil {
		p.mu.first = o.Err
	}
}

// kept reads from one node until it has caught up with what was acknowledged.
func (p *paced) kept(ctx context.Context, from Lister, endpoint int) (k Kept) {
	ctx, cancel := context.WithTimeout(ctx, keptBound)
	defer cancel()
	for {
		now, err := p.look(ctx, from, endpoint)
		switch {
		case err == nil:
			k = now
		case k == Kept{}: // what was read before counts more
			k.Error = err.Error()
		}
		if err == nil && now.Missing == 0 {
			return k
		}
		select {
		case <-ctx.Done():
			return k
		case <-time.After(keptPause):
		}
	}
}

func (p *paced) look(ctx context.Context, from Lister, endpoint int) (k Kept, err error) {
	there := make([]map[string][]byte, p.spec.Clients)
	for i := range there {
		if there[i], err = from.List(ctx, endpoint, p.prefix(i)); err != nil {
			return k, err
		}
	}
	for _, o := range p.mu.ops {
		if o.Err != nil {
			continue
		}
		key := p.key(o.Client, o.Seq)
		value, ok := there[o.Client][key]
		switch {
		case !ok:
			k.Missing++
		case !bytes.Equal(value, p.value(key)):
			k.Wrong++
		default:
			k.Keys++
		}
	}
	return k, nil
}
