// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// The words of api.Failover.
const (
	modeDisabled    = "disabled"
	activePrimary   = "primary"
	activeSecondary = "secondary"
)

// hangs is how long one call on a data disk goes on before the page says that
// the disk hangs: tenfold the default of the threshold that a log fails over
// by. Nothing depends on it here, and a page that blinks is not believed.
const hangs = time.Second

// tone is how much something wants attention; a page shows it in colour, shape
// and words.
type tone string

const (
	toneOK   tone = "ok"
	toneWarn tone = "warn"
	toneBad  tone = "bad"
)

// verdict is a node's state in one word and in one sentence. The sentence is
// read aloud when it changes, and so has no figure that always does.
type verdict struct {
	Tone     tone
	Word     string
	Sentence string
}

// judge finds what a person should know first.
func judge(s *api.NodeStores) verdict {
	var failed, rotten, leaderless, hung, over, full, sick, bare []string
	why := make(map[string]bool) // reasons why nothing would fail over
	leaders := make(map[string]bool)
	for i := range s.Stores {
		st := &s.Stores[i]
		for _, p := range st.Partitions {
			switch {
			case p.Error != "":
				failed = append(failed, fmt.Sprintf("%s: %s", p.Name, p.Error))
			case p.Leader == "":
				leaderless = append(leaderless, p.Name)
			default:
				leaders[p.Leader] = true
			}
		}
		if corrupt(st.Verification) {
			rotten = append(rotten, st.Path)
		}
		f := &st.Failover
		switch {
		case f.Active == activeSecondary:
			over = append(over, st.Path)
		case f.HungNS >= int64(hangs):
			hung = append(hung, st.Path)
		case f.Mode == modeDisabled:
		case !anySide(f, armed) || f.Off != "":
			bare = append(bare, st.Path)
			why[f.Off] = true
		case anySide(f, func(side api.Side) bool { return side.Armed && !side.Healthy }):
			sick = append(sick, st.Path)
		}
		if anySide(f, func(side api.Side) bool { return side.Alarm }) {
			full = append(full, st.Path)
		}
	}
	switch {
	case len(failed) > 0:
		return verdict{toneBad, "failed", "A partition failed: " + list(failed)}
	case len(rotten) > 0:
		return verdict{toneBad, "log corrupt", fmt.Sprintf("Verification found the log of %s corrupt.", list(rotten))}
	case len(leaderless) > 0:
		return verdict{toneBad, "no leader", fmt.Sprintf("No leader is known for %s: writes wait for an election.", list(leaderless))}
	case len(hung) > 0:
		return verdict{toneBad, "disk hangs", fmt.Sprintf("The data disk of %s hangs, and its log with it.", list(hung))}
	case len(full) > 0:
		return verdict{toneBad, "side nearly full", fmt.Sprintf("The journal of %s has nearly used up its side.", list(full))}
	case len(over) > 0:
		return verdict{toneWarn, activeSecondary, fmt.Sprintf("The log of %s writes to its side: the data disk is slow or hangs.", list(over))}
	case len(sick) > 0:
		return verdict{toneWarn, "side unhealthy", fmt.Sprintf("The side of %s is unhealthy: if the data disk hangs now, writes hang with it.", list(sick))}
	case len(s.Stores) == 0:
		return verdict{toneOK, "no stores", "This node holds no store and no partition."}
	case len(bare) > 0:
		v := verdict{toneWarn, "not armed", fmt.Sprintf("Nothing would fail over for %s: if the data disk hangs, writes hang with it.", list(bare))}
		if delete(why, ""); len(why) > 0 {
			v.Sentence += " Why: " + list(slices.Sorted(maps.Keys(why))) + "."
		}
		return v
	}
	lead := ""
	if len(leaders) == 1 {
		for name := range leaders {
			if lead = name + " leads. "; name == s.Node {
				lead = "This node leads. "
			}
		}
	}
	return verdict{toneOK, activePrimary, lead + "Every log writes to its data disk."}
}

func anySide(f *api.Failover, is func(api.Side) bool) bool {
	for _, s := range f.Sides {
		if is(s) {
			return true
		}
	}
	return false
}

func armed(s api.Side) bool { return s.Armed }

// failsOver tells whether a log can fail over, or did.
func failsOver(f *api.Failover) bool {
	return f.Mode != modeDisabled && (f.SwitchCount > 0 || f.PrimaryDurationNS > 0 || f.SecondaryDurationNS > 0 ||
		anySide(f, armed))
}
