// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// limits are how long the operations of a log may take. They follow from the
// cluster's settings, which are replicated and change at run time.
type limits struct {
	threshold time.Duration // storage.wal_failover.unhealthy_op_threshold
	maxSync   time.Duration // storage.max_sync_duration
}

// off tells whether failover is turned off: CockroachDB's rule.
func (l limits) off() bool { return l.threshold > l.maxSync }

// defaults are the settings' values where nobody set one: the table's, with
// what the node's environment says over it.
func (c *Config) defaults() map[string]string {
	d := kv.DefaultSettings(c.Failover.Mode != FailoverDisabled)
	if c.MaxSyncDefault > 0 {
		d[kv.SettingMaxSyncDuration] = c.MaxSyncDefault.String()
	}
	return d
}

// limitsOf are the limits that settings mean. Values that do not parse, which
// only a cache of another version can hold, count as not set.
func limitsOf(set map[string]string, defaults map[string]string) limits {
	value := func(name string) time.Duration {
		if d, err := kv.ParseSetting(name, set[name]); err == nil {
			return d
		}
		d, _ := time.ParseDuration(defaults[name]) // the table's own, or a duration's String
		return d
	}
	return limits{threshold: value(kv.SettingUnhealthyOpThreshold), maxSync: value(kv.SettingMaxSyncDuration)}
}

// applySettings puts the settings in force. The state machine calls it, so it
// waits for nothing.
func (n *Node) applySettings(s kv.Settings) {
	l := limitsOf(s.Set, n.cfg.defaults())
	if old := n.limits.Swap(&l); *old != l {
		n.log.Info("limits of the disks", "unhealthy_op_threshold", l.threshold, "max_sync_duration", l.maxSync)
		if l.off() && n.cfg.Failover.Mode != FailoverDisabled {
			n.log.Warn("the log's failover is turned off: the threshold is above max_sync_duration", "threshold", l.threshold, "max_sync_duration", l.maxSync)
		}
	}
	n.logs.mu.Lock()
	for _, log := range n.logs.open {
		log.SetLimits(l.threshold, l.maxSync)
	}
	n.logs.mu.Unlock()
	n.cache.put(s.Set)
}

// limitedLogs are the logs that the limits hold for. One that is opened while
// the limits change gets them from add, whichever comes first.
type limitedLogs struct {
	mu   sync.Mutex
	open []*failover.Log
}

func (n *Node) addLog(log *failover.Log) {
	n.logs.mu.Lock()
	defer n.logs.mu.Unlock()
	l := n.limits.Load()
	log.SetLimits(l.threshold, l.maxSync)
	n.logs.open = append(n.logs.open, log)
}

// settingsCache writes the settings beside the stores' identities, so that
// the next start knows them before the state machine does. One goroutine, run,
// does all of it: a disk that hangs delays the cache and nothing else.
type settingsCache struct {
	stores []*openStore
	log    hclog.Logger
	begun  bool          // run was started
	stop   chan struct{} // closed by close
	done   chan struct{} // closed when run has ended
	wake   chan struct{} // put → run; depth 1; never closed

	mu struct {
		sync.Mutex
		set map[string]string // what the cache should hold; never written to
	}
}

func newSettingsCache(stores []*openStore, log hclog.Logger) *settingsCache {
	return &settingsCache{stores: stores, log: log, stop: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1)}
}

func (c *settingsCache) put(set map[string]string) {
	c.mu.Lock()
	c.mu.set = set
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// start begins to write. Until every store is open the identities have another
// writer.
func (c *settingsCache) start() {
	c.begun = true
	go c.run()
}

// run ends with close, or, where a disk hangs, with the process.
func (c *settingsCache) run() {
	defer close(c.done)
	for {
		select {
		case <-c.wake:
		case <-c.stop:
			return
		}
		c.mu.Lock()
		set := c.mu.set
		c.mu.Unlock()
		for _, s := range c.stores {
			if err := store.CacheSettings(s.cfg.Path, set); err != nil {
				c.log.Warn("the settings were not cached beside the store: the next start begins with the older ones", "store", s.cfg.Path, "error", err)
			}
		}
	}
}

// close waits until nothing is written any more; ctx's error where a disk hangs.
func (c *settingsCache) close(ctx context.Context) error {
	close(c.stop)
	if !c.begun {
		return nil
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the cache of settings: %w", ctx.Err())
	}
}
