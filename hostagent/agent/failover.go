// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"cmp"
	"fmt"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
)

// failoverProblems is what a person has to know of the failover logs that an
// engine tells of: a disk hangs, or would not be survived if it did.
func failoverProblems(engine *api.NodeStores) []agentapi.Problem {
	var all []agentapi.Problem
	now := time.Now()
	for _, s := range engine.Stores {
		f := s.Failover
		if f.Mode == "" || f.Mode == agentapi.DisabledMode {
			continue
		}
		add := func(what, why, next string, at time.Time) {
			all = append(all, agentapi.Problem{What: what, Why: why, Next: next, At: at, Beside: true})
		}
		if f.Active == agentapi.Secondary {
			why, since := "the disk does not answer in time", now
			if f.LastSwitch != nil {
				why, since = f.LastSwitch.Reason, f.LastSwitch.At
			}
			add(fmt.Sprintf("a disk hangs: the log of the store %s writes to %s", s.Path, activeSide(f)), why,
				"Look at "+diskOf(s)+". Clients are served; the log goes back by itself once the disk is well. One that hangs beyond storage.max_sync_duration ends the engine.", since)
		} else if f.PrimaryError != "" {
			add("the disk of the store "+s.Path+" fails", f.PrimaryError, "Look at "+diskOf(s)+".", now)
		}
		if len(f.Sides) == 0 {
			add("the log of the store "+s.Path+" has nowhere to fail over to", cmp.Or(f.Off, "the engine names no side"), "See the engine's log.", now)
		}
		for _, side := range f.Sides {
			switch {
			case !side.Armed:
				add(fmt.Sprintf("the log of the store %s cannot fail over to %s", s.Path, side.Path), cmp.Or(side.Error, f.Off, "the side is not armed"),
					"Look at the side's disk and at the engine's log. A side is armed by itself as soon as it is well.", now)
			case !side.Healthy:
				add(fmt.Sprintf("the side %s does not answer in time", side.Path), cmp.Or(side.Error, "its last writes were late"),
					"Look at its disk: if the store's hangs too, writes wait.", now)
			case side.Alarm:
				add(fmt.Sprintf("the side %s is almost full", side.Path), fmt.Sprintf("%d of %d bytes are taken by the log of the store %s", side.JournalBytes, side.BudgetBytes, s.Path),
					"Look at "+diskOf(s)+": when the side is full, writes wait for it.", now)
			}
		}
	}
	return all
}

// activeSide is the directory that a log which failed over writes to.
func activeSide(f api.Failover) string {
	for _, side := range f.Sides {
		if side.Armed {
			return side.Path
		}
	}
	return "its side"
}

// diskOf names the disk of a store for a person.
func diskOf(s api.Store) string {
	if s.Device == "" {
		return "the disk of " + s.Path
	}
	return fmt.Sprintf("%s (%s), the disk of %s", s.Device, s.MajMin, s.Path)
}

// sharedDevices are the stores of a status whose log would fail over to the
// device that it is on. A directory whose disk is not mounted is on none that counts.
func sharedDevices(spec *agentapi.Spec, st *agentapi.Status, at time.Time) []agentapi.Problem {
	dirs := st.Stores
	if st.Side != nil {
		dirs = append(dirs[:len(dirs):len(dirs)], *st.Side)
	}
	var all []agentapi.Problem
	for _, s := range layout.SharedDevices(spec, func(path string) (name, number string) {
		for _, d := range dirs {
			if d.Path == path && onItsMount(spec, d) {
				return d.Device, d.MajMin
			}
		}
		return "", ""
	}) {
		all = append(all, agentapi.Problem{What: "failover has no disk of its own", Why: s.String(), Next: "Put it on another disk, or set the mode to disabled.", At: at, Beside: true})
	}
	return all
}

// onItsMount reports whether a directory lies on the mount that its spec wants.
func onItsMount(spec *agentapi.Spec, d agentapi.StoreStatus) bool {
	for _, w := range wants(spec, storesRecord{}) {
		if w.Path == d.Path && w.Mount != "" {
			return d.Mountpoint == w.Mount
		}
	}
	return true
}
