// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout/disk"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// claimFile says whose a machine is. The provider writes it before there is an agent,
// and takes it away after all nodes are removed; Remove only looks at it.
const claimFile = "node.json"

// records are the names of all that an agent of a whole machine keeps in its directory,
// see the package comment. The spec is the record of what there is to do: it goes last.
var records = []string{
	lockFile, processFile, storesFile, ratesFile, configsFile, unitFile, provisionDir, engineFile, logsFile, logsDir, pkiDir, certsDir,
	"wanted.json", "engine-process.json", "engine.log", "engine.log.1", disk.LockName, SocketName, specFile,
}

// unproven are the records that say nothing of a cluster: of an agent that never had a
// spec, or of a removal that was interrupted at its end.
var unproven = []string{lockFile, processFile, "wanted.json", disk.LockName}

// removeStop is how long systemd may take to stop the engine, or a mount.
const removeStop = 2 * time.Minute

// Removal is what Remove is told.
type Removal struct {
	ClusterID string
	Dir       string // the agent's
	KeepData  bool   // the file systems stay as they are, unmounted
	// Report is told each step before it is done, and what is left.
	Report func(string)
}

// Remove makes a machine one that is no node of the cluster any more: it stops agent and
// engine, unmounts the disks of the node's spec, takes the signature from the file
// systems that are proven to be this node's, and removes units, configuration and
// records. The binary stays, and so do the engine's user, its logs, mount points, directories
// that lie on no disk of the spec, and the machine's claim.
//
// Before it does anything, it looks at everything: a node of another cluster, a mount of
// somebody else on one of our mount points, or a store of another cluster on one of our
// disks ends it. It may be interrupted anywhere and be called again; where nothing is
// left it does nothing.
func Remove(ctx context.Context, r Removal) error {
	spec, err := r.records()
	if err != nil {
		return err
	}
	etc := place{dir: filepath.Dir(units.DefaultConfig)}
	if err := r.configuration(etc, spec != nil); err != nil {
		return err
	}
	var disks []disk.Disk
	if spec != nil {
		disks = diskSpec(spec, storesRecord{}, 0, 0).Disks
	}
	if err := r.check(ctx, disks); err != nil {
		return err
	}
	for _, unit := range []string{units.AgentUnit, units.EngineUnit} { // an agent would start the engine again
		if err := r.stop(ctx, unit); err != nil {
			return err
		}
	}
	held, err := r.alone()
	if err != nil {
		return err
	}
	defer held() // until the records are gone
	for _, d := range disks {
		if err := r.release(ctx, d); err != nil {
			return err
		}
	}
	if err := r.units(ctx, false); err != nil {
		return err
	}
	if spec != nil {
		r.leftDirectories(spec)
	}
	if err := etc.clear(); err != nil {
		return err
	}
	if err := removeNamed(filepath.Dir(units.DefaultSocket), filepath.Base(units.DefaultSocket)); err != nil {
		return err
	}
	if err := r.forget(); err != nil {
		return err
	}
	return r.units(ctx, true) // last: with it the machine is a node still
}

func (r Removal) refuse(why, next string) error {
	return &agentapi.Error{What: "the node is not removed", Why: why, Next: next, Field: "cluster-id"}
}

// records returns the spec of the node, nil where there was none.
func (r Removal) records() (*agentapi.Spec, error) {
	const next = "Nothing was changed. Give the id of the cluster that the node is of."
	var claim struct {
		Cluster agentapi.Cluster `json:"cluster"`
	}
	path := filepath.Join(r.Dir, claimFile)
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &claim)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if id := claim.Cluster.ID; id != "" && id != r.ClusterID {
		return nil, r.refuse(fmt.Sprintf("the machine is claimed for the cluster %q (%s), and not for %s", claim.Cluster.Name, id, r.ClusterID), next)
	}
	var rec specRecord
	if _, err := readJSON(filepath.Join(r.Dir, specFile), &rec, &rec.Format); err != nil {
		return nil, err
	}
	if rec.Spec != nil && rec.Spec.Cluster.ID != r.ClusterID {
		return nil, r.refuse(fmt.Sprintf("it is a node of the cluster %q (%s), and not of %s", rec.Spec.Cluster.Name, rec.Spec.Cluster.ID, r.ClusterID), next)
	}
	if rec.Spec == nil && claim.Cluster.ID == "" {
		return nil, r.unknown()
	}
	return rec.Spec, nil
}

// unknown refuses where neither claim nor spec say whose a node is and there is more than
// what an agent leaves that never had a spec, or an interrupted removal.
func (r Removal) unknown() error {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), ".new"); !slices.Contains(unproven, name) {
			return r.refuse(fmt.Sprintf("%s has %s and no %s: nobody can say whose node it is", r.Dir, e.Name(), specFile),
				"Nothing was changed. Restore "+specFile+", or look at what is there and put it aside.")
		}
	}
	return nil
}

// configuration refuses an engine.json of another cluster's engine, and of somebody
// else's. known: it is the node's own spec that the machine was made from.
func (r Removal) configuration(etc place, known bool) error {
	path := filepath.Join(etc.dir, engineFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || known {
		return nil
	}
	var f config.File
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	switch {
	case err != nil:
		return r.refuse(fmt.Sprintf("there is the configuration of an engine, and nobody can say whose: %s: %v", path, err), "Nothing was changed. Look at it and put it aside.")
	case f.Cluster.ID != r.ClusterID:
		return r.refuse(fmt.Sprintf("%s is of the cluster %q (%s), and not of %s", path, f.Cluster.Name, f.Cluster.ID, r.ClusterID),
			"Nothing was changed. Give the id of the cluster that the node is of.")
	}
	return nil
}

func (r Removal) host() disk.Host {
	return disk.Host{Roots: blockdev.Host(), StateDir: r.Dir, Note: func(s disk.Step) { r.Report(s.String()) }}
}

// check looks for what is not ours, and changes nothing.
func (r Removal) check(ctx context.Context, disks []disk.Disk) error {
	for _, d := range disks {
		o, err := disk.Find(ctx, r.host(), d)
		if refusals := disk.Refusals(err); len(refusals) > 0 {
			return refusalOf(refusals...)
		}
		if err != nil {
			return err
		}
		if o != nil && slices.ContainsFunc(o.Mounts, func(point string) bool { return point != d.Mount }) {
			return r.refuse(fmt.Sprintf("%s is mounted on %s, which the agent did not do", o.Device, strings.Join(o.Mounts, ", ")), "Unmount it and try again; nothing was changed.")
		}
		m, ok, err := mountOn(d.Mount)
		if err != nil {
			return err
		}
		if ok && (o == nil || m.MajMin() != o.Number) {
			return r.refuse(fmt.Sprintf("%s (%s) is mounted on %s, which is not the node's disk", m.Source, m.MajMin(), d.Mount), "Unmount it and try again; nothing was changed.")
		}
	}
	return nil
}

// mountOn returns the mount at a mount point, if there is one.
func mountOn(point string) (mountinfo.Mount, bool, error) {
	table, err := mountinfo.Read()
	if err != nil {
		return mountinfo.Mount{}, false, err
	}
	m, ok := table.Of(point)
	return m, ok && m.Point == point, nil
}

// stop stops a service, and keeps it from starting at the next boot.
func (r Removal) stop(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, removeStop)
	defer cancel()
	var sys units.Local
	out, err := sys.Run(ctx, "systemctl", "show", "--property=ActiveState,UnitFileState", "--", unit)
	if err != nil {
		return err
	}
	rests := strings.Contains(out, "ActiveState=inactive") || strings.Contains(out, "ActiveState=failed")
	if !rests || strings.Contains(out, "UnitFileState=enabled") {
		r.Report("stop and disable " + unit)
		if _, err := sys.Run(ctx, "systemctl", "disable", "--now", unit); err != nil {
			return err
		}
	}
	if unit != units.EngineUnit {
		return nil
	}
	pids, err := supervise.Processes(ctx, sys, unit)
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return r.refuse(fmt.Sprintf("the engine was stopped and is still there, process %v: a disk holds it", pids),
			"Look at the node's disks, and try again when it has ended.")
	}
	return nil
}

// alone keeps agents out. They are stopped; one that somebody runs by hand is not.
func (r Removal) alone() (done func(), err error) {
	if _, err := os.Stat(r.Dir); errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	f, err := lock(r.Dir)
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// release unmounts a disk and makes it blank.
func (r Removal) release(ctx context.Context, d disk.Disk) error {
	name := units.MountName(d.Mount)
	_, mounted, err := mountOn(d.Mount)
	if err != nil {
		return err
	}
	if mounted {
		r.Report("unmount " + d.Mount)
		bounded, cancel := context.WithTimeout(ctx, removeStop)
		defer cancel()
		if _, err := (units.Local{}).Run(bounded, "systemctl", "stop", name); err != nil {
			return fmt.Errorf("unmount %s, which something uses still (fuser -vm %s tells what): %w", d.Mount, d.Mount, err)
		}
		if _, mounted, err = mountOn(d.Mount); err != nil {
			return err
		}
		if mounted { // by hand: no unit of it is there
			if err := unix.Unmount(d.Mount, unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %s: %w", d.Mount, err)
			}
		}
	}
	if _, err := os.Stat(d.Mount); err == nil {
		r.Report("left: " + d.Mount + ", the mount point, which may be older than the node")
	}
	if r.KeepData {
		return nil
	}
	erased, err := disk.Erase(ctx, r.host(), d)
	if err != nil {
		return err
	}
	if o, err := disk.Find(ctx, r.host(), d); err == nil && o != nil && !erased {
		r.Report(fmt.Sprintf("%s keeps its %s: %s", o.Device, o.Signature, o.Reason()))
	}
	return nil
}

// units removes our files, the agent's unit only at the end.
func (r Removal) units(ctx context.Context, agent bool) error {
	var sys units.Local
	set := units.Nothing(agent)
	is, err := sys.Observe(ctx, set)
	if err != nil {
		return err
	}
	actions, err := units.MakePlan(set, is)
	if err != nil {
		return err
	}
	return units.Do(ctx, sys, actions, func(a units.Action) {
		if a.Kind != units.NeedRestart {
			r.Report(strings.TrimSpace(string(a.Kind) + " " + a.Target))
		}
	})
}

// leftDirectories tells of directories that are on no disk of the spec.
func (r Removal) leftDirectories(spec *agentapi.Spec) {
	for _, w := range wants(spec, storesRecord{}) {
		if _, err := os.Stat(w.Path); err == nil && w.Mount == "" {
			r.Report("left: " + w.Path + ", a directory on no disk of the node; remove it by hand if it is not needed")
		}
	}
}

// forget removes the agent's records, by their names, and the directory where that
// leaves it empty: the claim stays in it, and so does what somebody else put there.
func (r Removal) forget() error {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := func(e os.DirEntry) bool { return slices.Contains(records, strings.TrimSuffix(e.Name(), ".new")) }
	if slices.ContainsFunc(entries, ours) {
		r.Report("remove the records in " + r.Dir)
	}
	for _, name := range records {
		for _, path := range []string{filepath.Join(r.Dir, name), filepath.Join(r.Dir, name+".new")} {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return removeNamed(r.Dir)
}

// removeNamed removes files of a directory, and the directory where that leaves it empty.
func removeNamed(dir string, names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}
