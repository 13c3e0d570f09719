// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// fillChunk is written and synced at a time while a spare is filled.
const fillChunk = 1 << 20

// fillPause is how long the filling rests, in multiples of the time that the
// last chunk took: the disk belongs to the appends, and a spare is wanted only
// once per segment.
const fillPause = 4

// keeper looks after the files that are not part of the log: it prepares the
// spare and removes dropped segments, in one goroutine of its own that run
// starts and close stops. Its failures cost speed, not data: they are logged,
// and the next segment is made without a spare.
type keeper struct {
	fs   vfs.FS
	dir  string
	size int64 // of a spare
	log  hclog.Logger

	// wake: sent to by prepare, remove and close, never blocking; one deep; never
	// closed.
	wake chan struct{}
	// done is closed by the goroutine when it ends.
	done chan struct{}

	mu struct {
		sync.Mutex
		wanted bool     // a spare should be prepared
		ready  bool     // Invariant: spare exists, is synced and size long
		cold   bool     // the spare is an earlier process's, and may not be in the page cache
		ever   bool     // a spare was ready once since open
		doomed []string // to be removed
		stop   bool
	}
}

func newKeeper(fsys vfs.FS, dir string, size int64, log hclog.Logger) *keeper {
	return &keeper{
		fs: fsys, dir: dir, size: size, log: log,
		wake: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
}

// adopt looks for what an earlier process left: a spare of the right length is
// kept, anything else goes.
func (k *keeper) adopt() error {
	if err := removeIfExists(k.fs, k.path(spareTmpName)); err != nil {
		return err
	}
	f, err := k.fs.Open(k.path(spareName))
	if err != nil {
		return removeIfExists(k.fs, k.path(spareName))
	}
	size, err := f.Size()
	_ = f.Close() // was open for reading only
	if err != nil || size != k.size {
		return removeIfExists(k.fs, k.path(spareName))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.ready, k.mu.ever, k.mu.cold = true, true, true
	return nil
}

func (k *keeper) path(name string) string { return filepath.Join(k.dir, name) }

// hadSpare says whether a spare was ready at any time since open.
func (k *keeper) hadSpare() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.ever
}

// hasSpare says whether one is ready now. Only the caller of takeSpare makes
// it go away.
func (k *keeper) hasSpare() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.ready
}

// takeSpare renames the spare to path if one is ready that is size long. The
// caller syncs the directory. A spare that cannot be renamed is forgotten.
func (k *keeper) takeSpare(size int64, path string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.mu.ready || size != k.size {
		return false
	}
	k.mu.ready = false
	if err := k.fs.Rename(k.path(spareName), path); err != nil {
		k.log.Warn("cannot use the spare segment, making one", "path", k.path(spareName), "error", err)
		return false
	}
	return true
}

// prepare asks for a spare.
func (k *keeper) prepare() {
	k.mu.Lock()
	k.mu.wanted = true
	k.mu.Unlock()
	k.nudge()
}

// remove asks for the removal of a file.
func (k *keeper) remove(path string) {
	k.mu.Lock()
	k.mu.doomed = append(k.mu.doomed, path)
	k.mu.Unlock()
	k.nudge()
}

func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default: // it is awake
	}
}

// close removes what is still to be removed and ends the goroutine. It waits
// for a chunk that is being written, so it hangs while the disk does.
func (k *keeper) close() {
	k.mu.Lock()
	k.mu.stop = true
	k.mu.Unlock()
	k.nudge()
	<-k.done
}

// run is the goroutine.
func (k *keeper) run() {
	defer close(k.done)
	for range k.wake {
		stop := k.removeDoomed()
		if stop {
			return
		}
		k.mu.Lock()
		cold := k.mu.cold && k.mu.ready
		want := k.mu.wanted && !k.mu.ready
		k.mu.wanted, k.mu.cold = false, false
		k.mu.Unlock()
		if cold {
			if err := k.warmSpare(); err != nil {
				k.log.Warn("cannot read the spare segment ahead; the first appends to it are slower", "path", k.path(spareName), "error", err)
			}
			k.nudge() // whatever came in meanwhile
		}
		if !want {
			continue
		}
		ok, err := k.makeSpare()
		if err != nil {
			k.log.Warn("cannot prepare a spare segment; appends go on without it, slower", "path", k.path(spareTmpName), "error", err)
		}
		if ok && err == nil {
			k.mu.Lock()
			k.mu.ready, k.mu.ever = true, true
			k.mu.Unlock()
		} else if err := removeIfExists(k.fs, k.path(spareTmpName)); err != nil {
			k.log.Warn("the unfinished spare segment stays until the log is opened again", "error", err)
		}
		k.nudge() // whatever came in meanwhile
	}
}

// removeDoomed removes what was asked for and says whether to stop.
func (k *keeper) removeDoomed() (stop bool) {
	k.mu.Lock()
	doomed := k.mu.doomed
	k.mu.doomed = nil
	stop = k.mu.stop
	k.mu.Unlock()
	for _, path := range doomed {
		if err := removeIfExists(k.fs, path); err != nil {
			k.log.Warn("cannot remove a dropped segment; the next open tries again", "path", path, "error", err)
		}
	}
	return stop
}

// makeSpare fills spare.tmp chunk by chunk, at rest in between, and renames it.
// It gives up, without an error, when the store closes.
func (k *keeper) makeSpare() (ok bool, err error) {
	tmp := k.path(spareTmpName)
	if err := removeIfExists(k.fs, tmp); err != nil {
		return false, err
	}
	f, err := k.fs.Create(tmp)
	if err != nil {
		return false, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := f.Allocate(k.size); err != nil {
		return false, err
	}
	for off := int64(0); off < k.size; off += fillChunk {
		start := time.Now()
		if _, err := writeZeros(f, off, min(off+fillChunk, k.size)); err != nil {
			return false, err
		}
		if err := f.SyncData(); err != nil {
			return false, err
		}
		if k.rest(fillPause * time.Since(start)) {
			return false, nil
		}
	}
	return true, k.fs.Rename(tmp, k.path(spareName))
}

// warmSpare reads the spare into the page cache, chunk by chunk, at rest in between: an append to a page
// that is not there waits for the disk to read it first. It gives up, without an error, when the store closes.
func (k *keeper) warmSpare() (err error) {
	f, err := k.fs.Open(k.path(spareName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it became a segment meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	chunk := make([]byte, fillChunk)
	for off := int64(0); off < k.size; off += fillChunk {
		start := time.Now()
		if _, err := f.ReadAt(chunk[:min(fillChunk, k.size-off)], off); err != nil {
			return err
		}
		if k.rest(fillPause * time.Since(start)) {
			return nil
		}
	}
	return nil
}

// rest waits for d, goes on removing files meanwhile, and says whether to stop.
func (k *keeper) rest(d time.Duration) (stop bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return k.removeDoomed()
		case <-k.wake:
			if k.removeDoomed() {
				k.nudge() // for run, which ends on it
				return true
			}
		}
	}
}
