// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// filer makes and opens segments for raft-wal (types.SegmentFiler). It chooses
// how long a new segment is; the format is left to raft-wal's own filer.
type filer struct {
	*segment.Filer
	files *files
	fail  func(error)
}

var _ types.SegmentFiler = (*filer)(nil)

// Create implements types.SegmentFiler.
//
// SizeLimit is a soft limit kept in memory only, so a segment may be shorter
// than wal-meta.db says; RecoverTail learns its length from the file.
func (f *filer) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	if !f.files.keeper.hadSpare() {
		info.SizeLimit = min(info.SizeLimit, firstSegmentSize)
	}
	w, err := f.Filer.Create(info)
	if err != nil {
		// raft-wal only logs it when it happens in its rotation.
		f.fail(err)
		return nil, err
	}
	return w, nil
}

// RecoverTail implements types.SegmentFiler. The file has been through repair.
func (f *filer) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	file, err := f.files.fs.Open(f.files.path(segment.FileName(info)))
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	_ = file.Close() // was open for reading only
	if err != nil {
		return nil, err
	}
	// A file cut short before it had its length (size 0, say) is as good as new
	// to raft-wal, and grows with the appends.
	if size >= minSegmentSize && size < int64(info.SizeLimit) {
		info.SizeLimit = uint32(size)
	}
	return f.Filer.RecoverTail(info)
}
