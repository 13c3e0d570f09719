// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// Config is what the console runs with.
type Config struct {
	Source Source
	Writes *Latency // of this node's clients; nil where nobody counts
	Logger hclog.Logger
}

// Console samples a node and answers under /ui. It owns one goroutine, which
// Close ends.
type Console struct {
	source  Source
	writes  *Latency
	log     hclog.Logger
	started time.Time
	boot    string   // tells a page that its node is another process now
	stores  []string // ids, in the order of the columns

	stop chan struct{} // closed by Close
	done chan struct{} // closed by the sampler
	once sync.Once

	mu struct {
		sync.Mutex
		hist *history
	}
}

// Start begins to sample. The source must answer until Close has returned.
func Start(cfg Config) *Console {
	now := time.Now()
	c := &Console{
		source: cfg.Source, writes: cfg.Writes, log: cfg.Logger, started: now,
		boot: strconv.FormatInt(now.UnixNano(), 36),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if c.writes == nil {
		c.writes = new(Latency)
	}
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	s := c.source.Stores()
	for i := range s.Stores {
		c.stores = append(c.stores, s.Stores[i].ID)
	}
	c.mu.hist = newHistory(len(c.stores))
	go c.sample(progressOf(&s))
	return c
}

// Close ends the sampler and waits for it. The handler may be called on.
func (c *Console) Close() {
	c.once.Do(func() { close(c.stop) })
	<-c.done
}

// sample adds a row every second.
func (c *Console) sample(was progress) {
	defer close(c.done)
	var (
		seen [buckets]uint64
		v    interval
		last = c.started
		tick = time.NewTicker(fineStep)
	)
	defer tick.Stop()
	c.writes.take(&seen, &v.writes) // what was before the first interval
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		s := c.source.Stores()
		if !c.same(&s) {
			continue // the columns would not be those of the rows before
		}
		at := progressOf(&s)
		v.length = now.Sub(last)
		c.writes.take(&seen, &v.writes)
		var known bool
		if v.applied, known = at.appliedSince(was); known {
			v.appliedFor = v.length
		} else {
			v.appliedFor = 0
		}
		v.stores = storeGauges(&s)
		c.mu.Lock()
		c.mu.hist.add(c.clock(now), &v)
		c.mu.Unlock()
		was, last = at, now
	}
}

// clock is the time of samples in Unix ms. It goes by the monotonic clock: an
// adjustment of the wall clock would tear the charts.
func (c *Console) clock(now time.Time) int64 {
	return c.started.UnixMilli() + now.Sub(c.started).Milliseconds()
}

// same tells whether the node has the stores that it had at the start.
func (c *Console) same(s *api.NodeStores) bool {
	return slices.EqualFunc(s.Stores, c.stores, func(st api.Store, id string) bool { return st.ID == id })
}

// newest is the newest row, for the figures at the top of the page.
func (c *Console) newest() (applied, writes, p99 float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.mu.hist.fine
	return f.last(colApplied), f.last(colWrites), f.last(colP99)
}

// rows copies what a page lacks.
func (c *Console) rows(coarse bool, after int64) (step time.Duration, times []int64, cols [][]float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.mu.hist.fine
	if coarse {
		r = c.mu.hist.coarse
	}
	times, cols = r.after(after)
	return r.step, times, cols
}
