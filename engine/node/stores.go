// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// openStore is a store that this node has locked.
type openStore struct {
	cfg       Store
	id        store.Identity
	lock      *store.Lock
	partition *partition
	mount     mountinfo.Mount // as it was at start
	size      atomic.Pointer[diskSize]
}

type diskSize struct{ total, free int64 }

// openStoreDir checks that the directory is this node's, and takes it.
func openStoreDir(s Store, cfg *Config) (*openStore, error) {
	id, lock, err := store.Open(s.Path, store.Identity{
		Cluster: cfg.Cluster, ClusterID: cfg.ClusterID, Node: cfg.Node, NodeID: cfg.NodeID, StoreID: s.ID,
	})
	if err != nil {
		return nil, err
	}
	st := &openStore{cfg: s, id: id, lock: lock}
	st.size.Store(&diskSize{})
	if st.mount, err = mountinfo.MountOf(s.Path); err != nil {
		// Only the status is poorer for it.
		cfg.Logger.Warn("the store's device is not known", "store", s.Path, "error", err)
	}
	return st, nil
}

// checkOrder refuses stores whose places say that they hold other partitions
// than they do. Nothing was written by then.
func (n *Node) checkOrder() error {
	for i, st := range n.stores {
		want := PartitionName(i)
		has, err := st.partitions()
		if err != nil {
			return fmt.Errorf("store %s: %w", st.cfg.Path, err)
		}
		for _, name := range has {
			if name != want {
				return fmt.Errorf("%w: %s holds the log of partition %q, and as store %d of %d it would get %q. Nothing was changed; give the stores in the order in which they were made",
					ErrOrder, st.cfg.Path, name, i+1, len(n.stores), want)
			}
		}
	}
	return nil
}

// partitions are those whose log the store holds, or held: by its identity,
// and by the directories that are there.
func (s *openStore) partitions() ([]string, error) {
	has := slices.Clone(s.id.Bootstrapped)
	entries, err := os.ReadDir(filepath.Join(s.cfg.Path, "raft"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && partitionRE.MatchString(e.Name()) && !slices.Contains(has, e.Name()) {
			has = append(has, e.Name())
		}
	}
	return has, nil
}

// partitionRE matches the names that PartitionName gives.
var partitionRE = regexp.MustCompile(`^(default|p[1-9][0-9]*)$`)

func (s *openStore) majMin() string {
	if s.mount.Point == "" {
		return ""
	}
	return s.mount.MajMin()
}

// sizeInterval is how old a store's free space in the status may be, while
// its disk answers.
const sizeInterval = 10 * time.Second

// diskWatch asks the file systems of stores and sides for their size, and sides for their device, so that
// nobody who wants an answer at once has to. One goroutine, which ends with
// close, or, where a disk hangs, with the process.
type diskWatch struct {
	disks []watchedDisk
	log   hclog.Logger
	stop  chan struct{} // closed by close
}

type watchedDisk struct {
	path   string
	size   *atomic.Pointer[diskSize]
	mount  *atomic.Pointer[mountinfo.Mount] // nil: it is what it was at the start, which a store's open files hold
	failed bool                             // the last look; said once
}

// watchDisks looks once at every store's disk, which has just been read, and
// goes on with all.
func (n *Node) watchDisks() *diskWatch {
	w := &diskWatch{log: n.log, stop: make(chan struct{})}
	for _, s := range n.stores {
		w.disks = append(w.disks, watchedDisk{path: s.cfg.Path, size: &s.size})
	}
	w.look()
	for _, s := range n.sides {
		w.disks = append(w.disks, watchedDisk{path: s.path, size: &s.size, mount: &s.mount})
	}
	go func() {
		tick := time.NewTicker(sizeInterval)
		defer tick.Stop()
		for {
			w.look()
			select {
			case <-tick.C:
			case <-w.stop:
				return
			}
		}
	}()
	return w
}

func (w *diskWatch) look() {
	for i := range w.disks {
		d := &w.disks[i]
		var fs unix.Statfs_t
		err := unix.Statfs(d.path, &fs)
		if err == nil && d.mount != nil {
			var m mountinfo.Mount
			if m, err = mountinfo.MountOf(d.path); err == nil {
				d.mount.Store(&m)
			}
		}
		if err != nil && !d.failed {
			w.log.Warn("the size or the device of a disk is not known", "path", d.path, "error", err)
		}
		if d.failed = err != nil; !d.failed {
			d.size.Store(&diskSize{total: int64(fs.Blocks) * fs.Bsize, free: int64(fs.Bavail) * fs.Bsize})
		}
	}
}

func (w *diskWatch) close() { close(w.stop) }
