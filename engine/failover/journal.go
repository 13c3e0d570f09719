// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A journal is a set of files of one size in <side>/side/<store>/<partition>/,
// made, filled with zeros and synced before they are needed: writing a record
// never creates a file, grows one or syncs a directory.
//
//	000001.jnl
//	┌─────────────────┬──────────┬──────────┬───┬──────────┬─────────
//	│ header, 4096 B  │ record   │ record   │ … │ record   │ zeros, or what an older chain left
//	└─────────────────┴──────────┴──────────┴───┴──────────┴─────────
//
// Header: magic, version u32, length u32, crc-32c u32 of the JSON, JSON of a journalHeader.
//
// A chain starts at the front of a file that recovery no longer needs, and
// goes on in another such file when it is full. Older records behind the newest
// one are told apart by their epoch, sequence and prev (rule 6).
const (
	journalMagic   = "HFJOURN\x00"
	journalVersion = 1
	journalStart   = 4096
	journalSuffix  = ".jnl"

	// DefaultJournalFileSize is the size of one journal file in bytes. It is
	// also the largest record.
	DefaultJournalFileSize = 16 << 20
	// initialFiles exist before a side is armed; preparedFiles soon after, made
	// beside the writer, and more when these run out, up to the budget.
	initialFiles  = 2
	preparedFiles = 4
)

// Identity says whose journal it is. All of it must match before a record is
// replayed (rule 5).
type Identity struct {
	Cluster   string `json:"cluster"`
	Node      string `json:"node"`
	Store     string `json:"store"`
	Partition string `json:"partition"`
	// Log is random, made with the log's directory: the journal of a log that
	// was moved away never replays into its successor.
	Log string `json:"log"`
}

// A journalHeader says whose journal a file is of, and of which one: a log that has been
// armed on several disks has a journal on each.
type journalHeader struct {
	Identity
	// Journal is random, made with the journal: the record names it, so that a disk that
	// was this log's side before is not taken for the one that is. "" in files that were made before there was one.
	Journal string `json:"journal,omitempty"`
}

// ErrForeignJournal is returned for a journal of another log: it is not
// replayed, not reused and not removed.
var ErrForeignJournal = errors.New("the journal belongs to another log")

// ErrDamaged is returned when records that were durable cannot be read any
// more. Starting without them could lose acknowledged writes and votes.
var ErrDamaged = errors.New("the side journal is damaged")

// A journalFile is one file. The side's mutex guards what changes.
type journalFile struct {
	num  int
	file vfs.File
	size int64
	used int64 // bytes up to the end of the newest record
	// newest is the newest record handed to it. The file is free once the fence
	// has passed that and no call on it is outstanding.
	newest      seq
	outstanding bool
}

func (f *journalFile) free(fenced seq) bool { return f.newest <= fenced && !f.outstanding }

func journalPath(dir string, num int) string {
	return filepath.Join(dir, fmt.Sprintf("%06d%s", num, journalSuffix))
}

// createJournalFile makes one file, durable with its directory entry when it returns.
func createJournalFile(fsys vfs.FS, dir string, num int, size int64, of journalHeader) (*journalFile, error) {
	header, err := encodeHeader(of)
	if err != nil {
		return nil, err
	}
	path := journalPath(dir, num)
	temp := path + ".new"
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return vfs.FillZero(f, size) },
		func() error { _, err := f.WriteAt(header, 0); return err },
		f.SyncData,
		func() error { return fsys.Rename(temp, path) },
		func() error { return fsys.SyncDir(dir) },
	} {
		if err := step(); err != nil {
			// A half-made file on a full disk is room for nobody.
			return nil, errors.Join(fmt.Errorf("making the journal file %s: %w", path, err), f.Close(), fsys.Remove(temp))
		}
	}
	return &journalFile{num: num, file: f, size: size}, nil
}

func encodeHeader(h journalHeader) ([]byte, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := []byte(journalMagic)
	b = binary.LittleEndian.AppendUint32(b, journalVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body))) //nolint:gosec // an identity is short
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = append(b, body...)
	if len(b) > journalStart {
		return nil, fmt.Errorf("the identity %+v is too long for a journal's header", h.Identity)
	}
	return b, nil
}

// decodeHeader reads a file's first bytes. Magic and version are checked
// apart, so that a newer version is not called damage.
func decodeHeader(b []byte) (journalHeader, error) {
	var h journalHeader
	const fixed = len(journalMagic) + 12
	if len(b) < fixed || string(b[:len(journalMagic)]) != journalMagic {
		return h, fmt.Errorf("%w: not a journal file (no magic)", ErrDamaged)
	}
	le := binary.LittleEndian
	rest := b[len(journalMagic):]
	if v := le.Uint32(rest); v != journalVersion {
		return h, fmt.Errorf("journal version %d; this program reads version %d: start the version that wrote it", v, journalVersion)
	}
	n, sum := int(le.Uint32(rest[4:])), le.Uint32(rest[8:])
	if n > len(b)-fixed || crc32.Checksum(b[fixed:fixed+n], castagnoli) != sum {
		return h, fmt.Errorf("%w: header checksum", ErrDamaged)
	}
	if err := json.Unmarshal(b[fixed:fixed+n], &h); err != nil {
		return h, fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	return h, nil
}

// openJournalFiles opens the files of dir, in order of their numbers, and
// checks that they are this log's and of one journal, whose id it returns. Half-made files
// are removed.
func openJournalFiles(fsys vfs.FS, dir string, id Identity) (files []*journalFile, journal string, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, "", err
	}
	fail := func(err error) ([]*journalFile, string, error) {
		for _, f := range files {
			err = errors.Join(err, f.file.Close())
		}
		return nil, "", err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, journalSuffix+".new") {
			if err := fsys.Remove(path); err != nil {
				return fail(err)
			}
			continue
		}
		var num int
		if _, err := fmt.Sscanf(name, "%06d"+journalSuffix, &num); err != nil {
			continue
		}
		f, err := fsys.OpenReadWrite(path)
		if err != nil {
			return fail(err)
		}
		files = append(files, &journalFile{num: num, file: f})
		header := make([]byte, journalStart)
		if _, err := f.ReadAt(header, 0); err != nil {
			return fail(fmt.Errorf("%w: %s: reading the header: %w", ErrDamaged, path, err))
		}
		got, err := decodeHeader(header)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", path, err))
		}
		if got.Identity != id {
			return fail(fmt.Errorf("%s: %w: it is %+v, this log is %+v", path, ErrForeignJournal, got.Identity, id))
		}
		if journal != "" && got.Journal != "" && got.Journal != journal {
			return fail(fmt.Errorf("%s: %w: files of two journals are in one directory", path, ErrDamaged))
		}
		journal = cmp.Or(journal, got.Journal)
	}
	return files, journal, nil
}

// A run is the records at the front of one file that follow one another.
type run struct {
	file    *journalFile
	records []record
	// strays are records behind the end of the run: what an older chain left,
	// or the rest of a chain with a hole in it. They are not replayed, but what
	// they say was durable has to be found.
	strays []stray
}

type stray struct {
	epoch   uint64
	durable seq
}

// readRun reads the run of one file: records of one epoch, consecutive, each
// naming the one before it. It ends at the first that does not.
func readRun(f *journalFile, sum uint32) (run, error) {
	r := run{file: f}
	size, err := f.file.Size()
	if err != nil {
		return r, err
	}
	f.size, f.used = size, journalStart
	if size <= journalStart {
		return r, nil
	}
	b := make([]byte, size-journalStart)
	if _, err := f.file.ReadAt(b, journalStart); err != nil {
		return r, fmt.Errorf("reading the journal: %w", err)
	}
	for len(b) > 0 {
		rec, err := decodeRecord(b, sum)
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return r, err
		}
		if n := len(r.records); n > 0 {
			before := r.records[n-1]
			if rec.epoch != before.epoch || rec.op.seq != before.op.seq+1 || rec.prev != before.crc {
				break
			}
		}
		r.records = append(r.records, rec)
		b = b[rec.op.size:]
		f.used += int64(rec.op.size)
	}
	r.strays = findStrays(b, sum)
	return r, nil
}

// findStrays looks for records at any place of b.
func findStrays(b []byte, sum uint32) (out []stray) {
	le := binary.LittleEndian
	for len(b) >= recordHeader {
		// Most places are told by a byte or two: kind, zeros, an epoch of some life.
		if k := b[32]; k == 0 || k > byte(opSetUint64) || b[33] != 0 || b[34] != 0 || b[35] != 0 || le.Uint64(b[8:])>>32 == 0 {
			b = b[1:]
			continue
		}
		rec, err := decodeRecord(b, sum)
		if err != nil {
			b = b[1:]
			continue
		}
		out = append(out, stray{rec.epoch, rec.durable})
		b = b[rec.op.size:]
	}
	return out
}

// A segment is runs of one epoch that follow one another, over several files.
type segment struct {
	epoch   uint64
	head    bool // it begins the epoch's chain
	records []record
}

func (s *segment) first() seq { return s.records[0].op.seq }
func (s *segment) last() seq  { return s.records[len(s.records)-1].op.seq }

// segments joins runs to segments.
func segments(runs []run, sum uint32) ([]segment, error) {
	type link struct {
		epoch uint64
		seq   seq
		prev  uint32
	}
	next := map[link]run{}
	followed := map[link]bool{} // there is a run before it
	heads := map[uint64]bool{}
	var starts []run
	for _, r := range runs {
		if len(r.records) == 0 {
			continue
		}
		first, last := r.records[0], r.records[len(r.records)-1]
		followed[link{last.epoch, last.op.seq + 1, last.crc}] = true
		if first.prev != sum {
			next[link{first.epoch, first.op.seq, first.prev}] = r
			continue
		}
		if heads[first.epoch] {
			return nil, fmt.Errorf("%w: epoch %d starts twice", ErrDamaged, first.epoch)
		}
		heads[first.epoch] = true
		starts = append(starts, r)
	}
	for at, r := range next {
		if !followed[at] {
			starts = append(starts, r)
		}
	}
	var out []segment
	for _, r := range starts {
		first := r.records[0]
		s := segment{epoch: first.epoch, head: first.prev == sum}
		for ok := true; ok; {
			s.records = append(s.records, r.records...)
			last := r.records[len(r.records)-1]
			r, ok = next[link{last.epoch, last.op.seq + 1, last.crc}]
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b segment) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.first(), b.first()))
	})
	return out, nil
}

// chain joins the runs of all files and returns the records above the fence in
// the order of their epoch and sequence: what recovery replays. It is pure.
//
// The start of an epoch's chain may be gone: in an epoch that goes on for long the
// files whose records the fence has passed are used again (rule 6). Whatever
// is left then begins at or below the first record that is needed.
//
// ErrDamaged where a record says that a later one was durable than the chain
// reaches: the end is not a torn tail then.
func chain(runs []run, sum uint32, fenced fence) ([]record, error) {
	segs, err := segments(runs, sum)
	if err != nil {
		return nil, err
	}

	// Durable is the newest operation that any record of an epoch knows to be durable.
	durable := map[uint64]seq{}
	for _, r := range runs {
		for _, rec := range r.records {
			durable[rec.epoch] = max(durable[rec.epoch], rec.durable)
		}
		for _, s := range r.strays {
			durable[s.epoch] = max(durable[s.epoch], s.durable)
		}
	}

	var out []record
	var newest seq
	reached := map[uint64]seq{}
	for i, s := range segs {
		if !s.head && (s.epoch < fenced.epoch || s.first() > fenced.seq+1) {
			continue // of the past, or with a hole before it that was never fenced
		}
		reached[s.epoch] = s.last()
		if i+1 < len(segs) && segs[i+1].epoch == s.epoch && segs[i+1].first() <= fenced.seq+1 {
			continue // what is needed begins in a later one
		}
		for _, rec := range s.records {
			if s.epoch < fenced.epoch || rec.op.seq <= fenced.seq {
				continue
			}
			if rec.op.seq <= newest {
				return nil, fmt.Errorf("%w: operation %d of epoch %d is older than operation %d of an earlier epoch", ErrDamaged, rec.op.seq, s.epoch, newest)
			}
			out = append(out, rec)
			newest = rec.op.seq
		}
	}
	for _, epoch := range slices.Sorted(maps.Keys(durable)) {
		d := durable[epoch]
		last, ok := reached[epoch]
		switch {
		case d <= fenced.seq || d <= last:
		case ok:
			return nil, fmt.Errorf("%w: operation %d of epoch %d was durable; the chain ends at %d", ErrDamaged, d, epoch, last)
		case epoch >= fenced.epoch:
			return nil, fmt.Errorf("%w: the start of epoch %d is missing; operation %d in it was durable", ErrDamaged, epoch, d)
		}
	}
	return out, nil
}
