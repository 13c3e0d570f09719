// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout/rate"
)

// A side disk has to take a tenth of what the data disk does, or a log that fails over
// is held back there. Both are measured once, before an engine uses them: later they
// would take from it, and it from them. The record names devices by what stays the same
// over boots. A side disk that is too slow is better than none, so that it is a problem
// in the status and keeps no engine from starting; nor does a measurement that fails.

// ratesFile is the record of a measurement.
const ratesFile = "rates.json"

// Bounds of a measurement.
const (
	ratesTime  = 1500 * time.Millisecond // of all disks, where each is fast
	rateBound  = 5 * time.Second         // of one, before it is given up
	rateBytes  = 16 << 20
	askDevices = 5 * time.Second // which devices these are
)

// ratesRecord is rates.json.
type ratesRecord struct {
	Format int        `json:"format"`
	At     time.Time  `json:"at"`
	Data   []measured `json:"data"` // of the stores, in their order
	Side   measured   `json:"side"`
}

// measured is what one disk took.
type measured struct {
	agentapi.DiskRate
	Device deviceID `json:"device"`
}

// deviceID names a device over boots, which its number and often its name do not: by
// its file system's UUID, or where none is known by its name and size.
type deviceID struct {
	UUID  string `json:"uuid,omitempty"`
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"`
}

func (d deviceID) same(o deviceID) bool {
	if d.UUID != "" || o.UUID != "" {
		return d.UUID == o.UUID
	}
	return d == o
}

// rated is one directory on a disk of its own.
type rated struct {
	path   string
	device deviceID
}

// ratesState is what the agent knows of its disks' rates.
type ratesState struct {
	record *ratesRecord // replaced, never changed
	// problem is why there is none; tried, that it is not tried again before the spec is
	// sent again.
	problem *agentapi.Problem
	tried   bool
}

// ownDisks are the directories of a spec that are to be compared: those of stores with
// a disk of their own, where the side has one, too.
func ownDisks(spec *agentapi.Spec) (data []string, side string) {
	if spec.SideDisk == nil || spec.SideDisk.Device == "" && spec.SideDisk.Disk == nil {
		return nil, ""
	}
	for _, st := range spec.Stores {
		if st.Device != "" || st.Disk != nil {
			data = append(data, st.Path)
		}
	}
	return data, spec.SideDisk.Path
}

// of is the record with these directories for its devices, nil where it does not know
// one of them.
func (r *ratesRecord) of(data []rated, side rated) *ratesRecord {
	if r == nil || !r.Side.Device.same(side.device) {
		return nil
	}
	got := &ratesRecord{Format: r.Format, At: r.At, Side: r.Side}
	got.Side.Path = side.path
	for _, d := range data {
		known := false
		for _, m := range r.Data {
			if known = m.Device.same(d.device); known {
				m.Path = d.path
				got.Data = append(got.Data, m)
				break
			}
		}
		if !known {
			return nil
		}
	}
	return got
}

// rates is the record as the status shows it.
func (r *ratesRecord) rates() *agentapi.Rates {
	out := &agentapi.Rates{At: r.At, Side: r.Side.DiskRate, Enough: true}
	for _, m := range r.Data {
		out.Data = append(out.Data, m.DiskRate)
		v := rate.Judge(rateOf(m.DiskRate), rateOf(r.Side.DiskRate))
		if out.Verdict == "" || out.Enough && !v.Enough {
			out.Verdict = v.Why
		}
		out.Enough = out.Enough && v.Enough
	}
	return out
}

func rateOf(d agentapi.DiskRate) rate.Rate {
	return rate.Rate{IOPS: d.IOPS, Bandwidth: d.BandwidthBytes}
}

// ratesNow is what the status says of the disks' rates.
func (a *Agent) ratesNow(spec *agentapi.Spec) (*agentapi.Rates, []agentapi.Problem) {
	a.mu.Lock()
	at := a.mu.rates
	a.mu.Unlock()
	data, side := ownDisks(spec)
	if len(data) == 0 || at.record == nil && at.problem == nil {
		return nil, nil
	}
	if at.problem != nil {
		p := *at.problem
		p.Beside = true
		return nil, []agentapi.Problem{p}
	}
	if at.record.Side.Path != side {
		return nil, nil // of a spec that is not converged yet
	}
	rates := at.record.rates()
	if rates.Enough || spec.WALFailover.Mode != agentapi.SideDiskMode {
		return rates, nil
	}
	return rates, []agentapi.Problem{{What: "the side disk is slow", Why: rates.Verdict, At: rates.At, Beside: true,
		Next: "The engine runs all the same. Give the node a side disk of a tenth of its data disk's rates at least, more is not needed."}}
}

// ratesLocked measures the disks unless that was done, or an engine uses them.
func (a *Agent) ratesLocked(ctx context.Context, c *convergence, spec *agentapi.Spec) {
	data, side := ownDisks(spec)
	a.mu.Lock()
	at := a.mu.rates
	a.mu.Unlock()
	if len(data) == 0 || at.tried || a.engineUses(data) {
		return
	}
	disks, beside, err := a.ownDevices(ctx, data, side)
	next := at.record.of(disks, beside)
	switch {
	case err != nil && at.record != nil:
		a.log.Warn("whose rates are on record is not known", "error", err)
		return
	case err == nil && len(disks) == 0:
		return // all on one device, which the status tells
	case err == nil && next == nil:
		// The agent asks for no engine meanwhile; the end of the convergence does. One that
		// crashed systemd may start again, and what it takes is missing from what is measured.
		a.sup.SetReady(false)
		c.doing(agentapi.Operation{Part: agentapi.PartDisks, Field: sideField, Text: "measure the disks of " + strings.Join(data, ", ") + " and " + side})
		if next, err = a.measureTwice(ctx, disks, beside); err == nil {
			r := next.rates()
			a.log.Info("rates of the disks", "enough", r.Enough, "verdict", r.Verdict)
		}
	}
	if err == nil && !sameRecord(next, at.record) {
		err = atomicfile.WriteJSON(filepath.Join(a.opts.Dir, ratesFile), next)
	}
	at = ratesState{record: next}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		a.log.Warn("the disks were not measured", "error", err)
		at = ratesState{tried: true, problem: new(problem("the disks were not measured", err,
			"The engine runs all the same. It is tried again when the spec is sent while the engine is stopped."))}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.rates = at
}

func sameRecord(a, b *ratesRecord) bool {
	if b == nil || a.Side != b.Side || len(a.Data) != len(b.Data) {
		return false
	}
	for i := range a.Data {
		if a.Data[i] != b.Data[i] {
			return false
		}
	}
	return true
}

// measureTwice measures, and once more where the side is too slow: what else goes on
// below a disk makes it slower, never faster, and the better of two counts.
func (a *Agent) measureTwice(ctx context.Context, data []rated, side rated) (*ratesRecord, error) {
	rec, err := a.measure(ctx, data, side)
	if err != nil || rec.rates().Enough {
		return rec, err
	}
	again, err := a.measure(ctx, data, side)
	if err != nil {
		return nil, err
	}
	return rec.best(again), nil
}

// best is the better of two measurements of the same disks.
func (r *ratesRecord) best(o *ratesRecord) *ratesRecord {
	better := func(x, y measured) measured {
		x.IOPS, x.BandwidthBytes = max(x.IOPS, y.IOPS), max(x.BandwidthBytes, y.BandwidthBytes)
		return x
	}
	got := &ratesRecord{Format: r.Format, At: r.At, Side: better(r.Side, o.Side)}
	for i := range r.Data {
		got.Data = append(got.Data, better(r.Data[i], o.Data[i]))
	}
	return got
}

// measure measures one disk after the other: some share what is below them.
func (a *Agent) measure(ctx context.Context, data []rated, side rated) (*ratesRecord, error) {
	rec := &ratesRecord{Format: format, At: time.Now()}
	each := ratesTime / time.Duration(3*(len(data)+1)) // see rate.Options.Time
	one := func(d rated) (measured, error) {
		ctx, cancel := context.WithTimeout(ctx, rateBound)
		defer cancel()
		got := make(chan rate.Rate, 1) // a late answer is not raced with
		err := a.disks.Do("rates of "+d.path, rateBound, func() error {
			r, err := rate.Measure(ctx, d.path, rate.Options{Time: each, Bytes: rateBytes})
			got <- r
			return err
		})
		if err != nil {
			return measured{}, err
		}
		r := <-got
		return measured{agentapi.DiskRate{Path: d.path, IOPS: r.IOPS, BandwidthBytes: r.Bandwidth}, d.device}, nil
	}
	var err error
	if rec.Side, err = one(side); err != nil {
		return nil, err
	}
	for _, d := range data {
		m, err := one(d)
		if err != nil {
			return nil, err
		}
		rec.Data = append(rec.Data, m)
	}
	return rec, nil
}

// ownDevices says on which devices the directories lie. Stores that share the side's
// are left out.
func (a *Agent) ownDevices(ctx context.Context, data []string, side string) ([]rated, rated, error) {
	type answer struct {
		data []rated
		side rated
	}
	ctx, cancel := context.WithTimeout(ctx, askDevices)
	defer cancel()
	found := make(chan answer, 1) // a late answer is not raced with
	err := a.disks.Do("the devices of the stores", askDevices, func() error {
		devices, err := blockdev.Discover(ctx, blockdev.Host())
		if err != nil {
			return err
		}
		got := answer{}
		beside, s, err := deviceOf(devices, side)
		if err != nil {
			return err
		}
		got.side = rated{side, s}
		for _, path := range data {
			number, d, err := deviceOf(devices, path)
			if err != nil {
				return err
			}
			if number != beside {
				got.data = append(got.data, rated{path, d})
			}
		}
		found <- got
		return nil
	})
	if err != nil {
		return nil, rated{}, err
	}
	got := <-found
	return got.data, got.side, nil
}

// deviceOf is the number and the identity of the device that a path lies on.
func deviceOf(devices []blockdev.Device, path string) (string, deviceID, error) {
	m, err := mountinfo.MountOf(path)
	if err != nil {
		return "", deviceID{}, err
	}
	for _, d := range devices {
		if d.Major == m.Major && d.Minor == m.Minor {
			return m.MajMin(), deviceID{UUID: d.UUID, Name: d.KName, Bytes: d.Size}, nil
		}
	}
	return "", deviceID{}, fmt.Errorf("%s lies on %s (%s), which is no block device that is known", path, m.MajMin(), m.FSType)
}

// engineUses reports whether an engine has one of the stores open, whoever started it.
// Where that is not known it says yes.
func (a *Agent) engineUses(stores []string) bool {
	if a.sup.State().Process != nil {
		return true
	}
	err := a.disks.Do("the locks of the stores", diskBound, func() error {
		for _, dir := range stores {
			held, err := locked(filepath.Join(dir, store.LockName))
			if err != nil {
				return err
			}
			if held {
				return errInUse
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errInUse) {
		a.log.Warn("whether an engine runs is not known; the disks are not measured", "error", err)
	}
	return err != nil
}

var errInUse = errors.New("an engine has the store open")

// locked reports whether somebody holds a flock on the file. It takes none itself: an
// engine that starts at this moment would be refused.
func locked(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // read only
	return heldIn(f, st.Dev, st.Ino)
}

// heldIn looks for a file in a table of locks, as /proc/locks is:
//
//	2: FLOCK  ADVISORY  WRITE 1417 fe:01:262405 0 EOF
func heldIn(table io.Reader, dev, ino uint64) (bool, error) {
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), ino)
	s := bufio.NewScanner(table)
	for s.Scan() {
		words := strings.Fields(s.Text())
		if len(words) >= 6 && words[1] == "FLOCK" && words[5] == want {
			return true, nil
		}
	}
	return false, s.Err()
}
