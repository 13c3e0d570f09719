// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout/disk"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// Bounds of what is done to disks.
const (
	lookDisks  = 30 * time.Second // looking at all of them; a request waits for it
	applyDisks = 30 * time.Minute // making and growing file systems
	mountsWait = 100 * time.Second
)

// theDisks is the subject of all that waits for disks: one at a time.
const theDisks = "the node's disks"

// diskSpec is what the disks of a node spec mean to package disk. uid and gid are the
// engine's.
//
// The file systems of stores are called hf-data1, hf-data2 …; the identity in a store
// says whose it is. A side has none: its label is the node's own.
func diskSpec(spec *agentapi.Spec, stores storesRecord, uid, gid int) disk.Spec {
	s := disk.Spec{Disks: []disk.Disk{}}
	add := func(field, path, label string, want *agentapi.Disk, id *store.Identity) {
		if want == nil {
			return
		}
		rel, err := filepath.Rel(want.Mount, path)
		if err != nil {
			rel = "" // Validate made sure that it is below; disk.Spec.Validate refuses this one
		}
		d := disk.Disk{
			Field: field + ".disk", FSType: want.FileSystem, Label: label, Mount: want.Mount, MinSize: uint64(want.MinSizeBytes),
			Match: disk.Match{
				Name: want.Match.Name, Serial: want.Match.Serial, WWN: want.Match.WWN, ByID: want.Match.ByID, Size: uint64(want.Match.SizeBytes),
			},
			Directories: []disk.Directory{{Path: rel, UID: uid, GID: gid, Mode: 0o700}},
			Made:        want.Made,
		}
		if want.Match == (agentapi.DiskMatch{}) {
			d.Match = disk.Match{OnlyBlank: true, MinSize: uint64(want.MinSizeBytes)}
		}
		if want.Wipe != nil {
			d.Wipe, d.WipeOnly = true, &disk.Signature{Type: want.Wipe.Type, UUID: want.Wipe.UUID}
		}
		if id != nil {
			d.Store, d.StoreDir = id, rel
		}
		s.Disks = append(s.Disks, d)
	}
	for i, st := range spec.Stores {
		add(fmt.Sprintf("stores.%d", i), st.Path, fmt.Sprintf("hf-data%d", i+1), st.Disk, &store.Identity{
			Cluster: spec.Cluster.Name, ClusterID: spec.Cluster.ID,
			Node: spec.Node, NodeID: config.NodeID(spec.Cluster.ID, spec.Node), StoreID: stores.id(st.Path),
		})
	}
	if spec.SideDisk != nil {
		add(sideField, spec.SideDisk.Path, sideLabel(spec.Cluster.ID, spec.Node), spec.SideDisk.Disk, nil)
	}
	return s
}

// sideLabel is the label of a node's side disk: another one for each cluster and node,
// and no longer than xfs takes.
func sideLabel(clusterID, node string) string {
	sum := sha256.Sum256([]byte(clusterID + "/" + node))
	return "hfs-" + hex.EncodeToString(sum[:4])
}

func (a *Agent) diskHost() disk.Host {
	return disk.Host{Roots: blockdev.Host(), StateDir: a.opts.Dir, Mounter: unitMounter{}}
}

// lookAtDisks plans the disks of a spec. It changes nothing.
func (a *Agent) lookAtDisks(ctx context.Context, s disk.Spec) (disk.Plan, error) {
	return bounded(&a.disks, lookDisks, func() (disk.Plan, error) { return disk.Dry(ctx, a.diskHost(), s) })
}

// bounded does f, which waits for the disks, and gives up after bound; f goes on then.
func bounded[T any](b bounder, bound time.Duration, f func() (T, error)) (T, error) {
	result := make(chan T, 1) // a late one is not raced with
	err := b.Do(theDisks, bound, func() error {
		v, err := f()
		result <- v
		return err
	})
	select {
	case v := <-result:
		return v, err
	default:
		var none T
		return none, err
	}
}

type bounder interface {
	Do(subject string, bound time.Duration, f func() error) error
}

// disksLocked makes the disks what the spec says, and returns how they are mounted.
//
// Where only the side disk stands in the way of a node that once was what its spec says, its engine may
// start: it serves without a side that is not needed, and refuses by itself to start without
// one that is (failover's rule 8).
func (a *Agent) disksLocked(ctx context.Context, c *convergence, spec *agentapi.Spec, stores storesRecord, at place) ([]disk.Mount, []agentapi.Problem) {
	s := diskSpec(spec, stores, at.uid, at.gid)
	if !a.opts.Systemd || len(s.Disks) == 0 {
		return nil, nil
	}
	c.looking(agentapi.PartDisks, "look at the disks")
	waitForMounts(ctx, units.Local{}, s)
	plan, err := a.lookAtDisks(ctx, s)
	if err == nil {
		plan, err = a.applyDisks(ctx, c, s, plan)
	}
	if err == nil {
		return plan.Mounts, nil
	}
	if rest, ok := withoutSide(s); ok && len(stores.Stores) > 0 {
		plan, restErr := a.lookAtDisks(ctx, rest)
		if restErr == nil && mountsAlone(plan) {
			_, restErr = a.applyDisks(ctx, c, rest, plan)
			c.sideAlone = restErr == nil
		}
	}
	return nil, diskProblems(err)
}

func (a *Agent) applyDisks(ctx context.Context, c *convergence, s disk.Spec, plan disk.Plan) (disk.Plan, error) {
	if len(plan.Steps) == 0 {
		return plan, nil
	}
	host := a.diskHost()
	host.NoGrow = !c.asked
	host.Note = func(step disk.Step) {
		o := diskOperation(step)
		a.log.Info("disks", "step", o.Text)
		c.doing(o)
	}
	return bounded(&a.disks, applyDisks, func() (disk.Plan, error) { return disk.Apply(ctx, host, s) })
}

// withoutSide are the disks of the stores; ok where there are some, and a side disk beside them.
func withoutSide(s disk.Spec) (rest disk.Spec, ok bool) {
	rest = disk.Spec{Disks: slices.DeleteFunc(slices.Clone(s.Disks), func(d disk.Disk) bool { return d.Field == sideField+".disk" })}
	return rest, len(rest.Disks) > 0 && len(rest.Disks) < len(s.Disks)
}

// mountsAlone reports whether a plan makes nothing anew: without the side's, a blank disk may be taken
// for the one of a store.
func mountsAlone(p disk.Plan) bool {
	return !slices.ContainsFunc(p.Steps, func(s disk.Step) bool { return s.Do != disk.MountFS && s.Do != disk.MountPoint })
}

// waitForMounts waits until systemd has done what it began of itself, as at boot: a look
// into a device would get in the way of its mount.
func waitForMounts(ctx context.Context, sys units.System, s disk.Spec) {
	ctx, cancel := context.WithTimeout(ctx, mountsWait)
	defer cancel()
	argv := []string{"systemctl", "show", "--property=Job", "--"}
	for _, d := range s.Disks {
		argv = append(argv, units.MountName(d.Mount))
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		out, err := sys.Run(ctx, argv...)
		if err != nil || !waits(out) {
			return // what hinders a mount is told by who mounts
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// waits reports whether one of the units has a job: "Job=812", and nothing or 0 without.
func waits(show string) bool {
	for line := range strings.Lines(show) {
		if job, ok := strings.CutPrefix(strings.TrimSpace(line), "Job="); ok && job != "" && job != "0" {
			return true
		}
	}
	return false
}

// unitMounter mounts by systemd's mount units, so that a mount survives a reboot.
type unitMounter struct{}

// install brings the unit of a mount to what it should be, and its mount with it.
func (unitMounter) install(ctx context.Context, m disk.Mount) (name string, err error) {
	set, err := units.MakeMount(m.Field, units.Disk{Path: m.Where, UUID: m.UUID, FSType: m.FSType})
	if err != nil {
		return "", err
	}
	var sys units.Local
	is, err := sys.Observe(ctx, set)
	if err != nil {
		return "", err
	}
	actions, err := units.MakePlan(set, is)
	if err != nil {
		return "", err
	}
	return units.MountName(m.Where), units.Do(ctx, sys, actions, nil)
}

// Mount implements disk.Mounter.
func (u unitMounter) Mount(ctx context.Context, m disk.Mount) error {
	// The device may have its file system since a moment ago: the unit waits for udev's
	// link to its UUID, and udev may have looked before.
	if _, err := (units.Local{}).Run(ctx, "udevadm", "trigger", "--action=change", "--settle", m.Device); err != nil {
		return err
	}
	_, err := u.install(ctx, m)
	return err
}

// Remount implements disk.Mounter.
func (u unitMounter) Remount(ctx context.Context, m disk.Mount) error {
	name, err := u.install(ctx, m)
	if err != nil {
		return err
	}
	_, err = units.Local{}.Run(ctx, "systemctl", "reload", name)
	return err
}

// Unmount implements disk.Mounter.
func (unitMounter) Unmount(ctx context.Context, m disk.Mount) error {
	return units.RemoveMount(ctx, units.Local{}, m.Where)
}

// diskOperation is a step as a person reads it.
func diskOperation(s disk.Step) agentapi.Operation {
	o := agentapi.Operation{Part: agentapi.PartDisks, Field: strings.TrimSuffix(s.Field, ".disk"), Text: s.String()}
	if s.Do == disk.MakeDir {
		o.Text = fmt.Sprintf("directory %s for the user %s, mode %s", s.Path, units.DefaultUser, s.Directory.Mode)
	}
	return o
}

// diskOperations leaves out what is only a part of making and mounting a file system.
func diskOperations(steps []disk.Step) []agentapi.Operation {
	var all []agentapi.Operation
	for _, s := range steps {
		if s.Do != disk.Label && s.Do != disk.MountPoint {
			all = append(all, diskOperation(s))
		}
	}
	return all
}

// specFields are the names in a node spec of fields that package disk calls otherwise.
var specFields = strings.NewReplacer(".disk.fstype", ".disk.filesystem", ".disk.min_size", ".disk.min_size_bytes", ".disk.wipe_only", ".disk.wipe")

// refusalOf is one refusal of package disk, or several, in the words of a node spec.
func refusalOf(refusals ...*disk.Refusal) *agentapi.Error {
	var all *agentapi.Error
	for _, r := range refusals {
		field := specFields.Replace(r.Field)
		owner, _, _ := strings.Cut(field, ".disk")
		why := fmt.Sprintf("%s: want %s, found %s", field, r.Want, r.Found)
		if r.Device != "" {
			why = fmt.Sprintf("%s: %s: want %s, found %s", r.Device, field, r.Want, r.Found)
		}
		if all == nil {
			all = &agentapi.Error{What: "the disk of " + owner + " is refused, and nothing was changed", Why: why, Next: r.Next, Field: field}
			continue
		}
		all.What, all.Why = "disks are refused, and nothing was changed", all.Why+"; "+why
		if !strings.Contains(all.Next, r.Next) {
			all.Next += " " + r.Next
		}
	}
	return all
}

// diskProblems is what keeps the disks from being what they should be.
func diskProblems(err error) []agentapi.Problem {
	var problems []agentapi.Problem
	for _, r := range disk.Refusals(err) {
		problems = append(problems, problem("", refusalOf(r), ""))
	}
	switch {
	case len(problems) > 0:
	case errors.Is(err, disk.ErrBusy):
		problems = append(problems, problem("the disks are not ready", err, "The agent goes on when it is done."))
	default:
		problems = append(problems, problem("the disks are not ready", err, "Look at the disks and at the agent's log; the agent goes on trying."))
	}
	return problems
}
