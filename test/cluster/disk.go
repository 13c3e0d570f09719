// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

// Disk is a directory whose writes can be held up, as those of a process in D
// state are: what is under way and what comes waits for Thaw, and then
// happens. Reads go on. Safe for concurrent use.
type Disk struct {
	dir   string
	stall *vfstest.Stall // of the node, which has one file system for all its disks

	mu     sync.Mutex
	change *sync.Cond
	frozen bool
	hang   *vfstest.Hang // nil unless frozen
	held   int
	fail   []error // of the next writes to the log, in order
}

// Freeze holds every write from here on.
func (d *Disk) Freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return
	}
	d.frozen = true
	d.hang = d.stall.Hang(vfstest.Match{Kind: vfstest.Disk, Under: d.dir}, vfstest.Before)
}

// Thaw lets everything go.
func (d *Disk) Thaw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		return
	}
	d.frozen = false
	d.change.Broadcast()
	d.hang.Release()
}

// Held is how many writes to the log wait now.
func (d *Disk) Held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held
}

// Fail makes the next writes to the log end with these errors.
func (d *Disk) Fail(errs ...error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = append(d.fail, errs...)
}

// pass waits while the disk is frozen.
func (d *Disk) pass() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.frozen {
		d.held++
		d.change.Wait()
		d.held--
	}
	if len(d.fail) > 0 {
		err := d.fail[0]
		d.fail = d.fail[1:]
		return err
	}
	return nil
}

// disks are those of one node. It implements node.Disks.
type disks struct {
	stall *vfstest.Stall
	all   []*Disk
}

func newDisks() *disks { return &disks{stall: vfstest.NewStall(vfs.OS{})} }

func (ds *disks) add(dir string) {
	d := &Disk{dir: dir, stall: ds.stall}
	d.change = sync.NewCond(&d.mu)
	ds.all = append(ds.all, d)
}

// FS implements node.Disks.
func (ds *disks) FS(string) vfs.FS { return ds.stall }

// OpenLog implements node.Disks.
func (ds *disks) OpenLog(dir string, o logstore.Options) (logstore.Store, string, error) {
	s, warning, err := logstore.Open(dir, o)
	if err != nil {
		return nil, warning, err
	}
	i := slices.IndexFunc(ds.all, func(d *Disk) bool { return strings.HasPrefix(dir, d.dir+"/") })
	return &heldLog{Store: s, disk: ds.all[i]}, warning, nil
}

// heldLog is a log on a Disk.
type heldLog struct {
	logstore.Store
	disk *Disk
}

func (l *heldLog) do(f func() error) error {
	if err := l.disk.pass(); err != nil {
		return err
	}
	return f()
}

func (l *heldLog) StoreLog(e *raft.Log) error {
	return l.do(func() error { return l.Store.StoreLog(e) })
}

func (l *heldLog) StoreLogs(es []*raft.Log) error {
	return l.do(func() error { return l.Store.StoreLogs(es) })
}

func (l *heldLog) DeleteRange(low, high uint64) error {
	return l.do(func() error { return l.Store.DeleteRange(low, high) })
}

func (l *heldLog) Set(k, v []byte) error { return l.do(func() error { return l.Store.Set(k, v) }) }

func (l *heldLog) SetUint64(k []byte, n uint64) error {
	return l.do(func() error { return l.Store.SetUint64(k, n) })
}
