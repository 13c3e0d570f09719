// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// The fence is a number on the primary: the newest operation known to be
// durable there. Recovery replays what the journals hold above it (rule 2).
// Two slots are written in turn, each in a sector of its own, so that a torn
// write leaves the other:
//
//	0                         4096                      8192
//	┌───────┬─────┬──────────┬───────┬─────┬───────────┐
//	│ slot  │  0… │          │ slot  │ 0…  │           │
//	└───────┴─────┴──────────┴───────┴─────┴───────────┘
//
//	slot: magic "HFFENCE\0", version u32, crc-32c u32 of what follows begun
//	with the log's id, counter u64, epoch u64, seq u64; little endian
const (
	fenceName    = "fence"
	fenceMagic   = "HFFENCE\x00"
	fenceVersion = 1
	fenceSlot    = 4096
	fenceSize    = 8 + 4 + 4 + 8 + 8 + 8
)

// A fence names the newest operation that is durable on the primary.
type fence struct {
	epoch uint64
	seq   seq
}

// A fenceFile holds the fence. One goroutine at a time writes it: the applier.
type fenceFile struct {
	fs      vfs.FS
	path    string
	file    vfs.File // nil after an error, until it is opened again
	sum     uint32
	counter uint64
}

// openFence opens the fence of the log in dir, or makes one that names nothing
// where that is harmless: an armed side without a fence would be replayed from
// its first record, over everything since.
func openFence(fsys vfs.FS, dir string, sum uint32, may bool) (*fenceFile, fence, error) {
	path := filepath.Join(dir, fenceName)
	f, err := fsys.OpenReadWrite(path)
	if errors.Is(err, fs.ErrNotExist) {
		if !may {
			return nil, fence{}, fmt.Errorf("%w: the fence %s is gone, and a side is armed. Restore the file; without it votes may be lost, so remove the server from its cluster before you wipe this store and let it join as a new one", ErrDamaged, path)
		}
		return createFence(fsys, path, sum)
	}
	if err != nil {
		return nil, fence{}, err
	}
	b := make([]byte, 2*fenceSlot)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fence{}, errors.Join(fmt.Errorf("reading the fence %s: %w", path, err), f.Close())
	}
	ff := &fenceFile{fs: fsys, path: path, file: f, sum: sum}
	var at fence
	var errs []error
	found := false
	for slot := range 2 {
		counter, v, err := decodeFence(b[slot*fenceSlot:], sum)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !found || counter > ff.counter {
			found, ff.counter, at = true, counter, v
		}
	}
	if !found {
		return nil, fence{}, errors.Join(append(errs, fmt.Errorf("%w: no slot of the fence %s can be read", ErrDamaged, path), f.Close())...)
	}
	return ff, at, nil
}

// createFence makes both slots readable before the file has its name.
func createFence(fsys vfs.FS, path string, sum uint32) (*fenceFile, fence, error) {
	temp := path + ".new"
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fence{}, err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return nil, fence{}, err
	}
	ff := &fenceFile{fs: fsys, path: path, file: f, sum: sum}
	for _, step := range []func() error{
		func() error { return vfs.FillZero(f, 2*fenceSlot) },
		func() error { return ff.write(fence{}) },
		func() error { return ff.write(fence{}) },
		f.SyncData,
		func() error { return fsys.Rename(temp, path) },
		func() error { return fsys.SyncDir(filepath.Dir(path)) },
	} {
		if err := step(); err != nil {
			return nil, fence{}, errors.Join(fmt.Errorf("making the fence %s: %w", path, err), f.Close())
		}
	}
	return ff, fence{}, nil
}

// write makes v the fence; durable when it returns. After an error the fence
// may be the old or the new one, and the next write goes to the same slot: the
// other has the newest that is certain.
func (f *fenceFile) write(v fence) error {
	if f.file == nil {
		file, err := f.fs.OpenReadWrite(f.path)
		if err != nil {
			return fmt.Errorf("opening the fence again: %w", err)
		}
		f.file = file
	}
	counter := f.counter + 1
	b := []byte(fenceMagic)
	le := binary.LittleEndian
	b = le.AppendUint32(b, fenceVersion)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, counter)
	b = le.AppendUint64(b, v.epoch)
	b = le.AppendUint64(b, uint64(v.seq))
	le.PutUint32(b[12:], crc32.Update(f.sum, castagnoli, b[16:]))
	_, err := f.file.WriteAt(b, int64(counter%2)*fenceSlot) //nolint:gosec // 0 or 1
	if err == nil {
		err = f.file.SyncData()
	}
	if err != nil {
		_ = f.Close() // err says more
		return fmt.Errorf("writing the fence %s: %w", f.path, err)
	}
	f.counter = counter
	return nil
}

// Close closes the file.
func (f *fenceFile) Close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

func decodeFence(b []byte, sum uint32) (counter uint64, v fence, err error) {
	if len(b) < fenceSize || string(b[:len(fenceMagic)]) != fenceMagic {
		return 0, v, fmt.Errorf("%w: fence slot without magic", ErrDamaged)
	}
	le := binary.LittleEndian
	if got := le.Uint32(b[8:]); got != fenceVersion {
		return 0, v, fmt.Errorf("fence version %d; this program reads version %d: start the version that wrote it", got, fenceVersion)
	}
	if crc32.Update(sum, castagnoli, b[16:fenceSize]) != le.Uint32(b[12:]) {
		return 0, v, fmt.Errorf("%w: fence slot checksum", ErrDamaged)
	}
	return le.Uint64(b[16:]), fence{epoch: le.Uint64(b[24:]), seq: seq(le.Uint64(b[32:]))}, nil
}
