// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// unitFile is in the directory of an agent whose engine systemd runs: which engine was
// started from which text of its unit. Times would not tell: a clock that was far off is
// set right while an engine runs.
const unitFile = "engine-unit.json"

// unitRecord is engine-unit.json.
type unitRecord struct {
	Format int `json:"format"`
	// Engine is the process that was there when its unit was last looked at, Unit what it
	// was started from, Wanted what it should have been; Why is the difference in words.
	Engine supervise.Identity `json:"engine"`
	Unit   string             `json:"unit"`
	Wanted string             `json:"wanted"`
	Why    string             `json:"why,omitempty"`
}

// notRead is the hash of a unit that systemd had read before the one that is in its file.
const notRead = "unknown"

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// next is the record before a unit is brought from its file's text to the one of a plan,
// while p runs. An engine that is not on record was started from what is in the file: an
// agent writes it, and has systemd read it, only after it has looked here.
func (r unitRecord) next(p *supervise.Info, plan servicePlan, why string) unitRecord {
	n := unitRecord{Format: format, Wanted: hashOf(plan.unit)}
	if p == nil {
		return n
	}
	n.Engine = p.Identity
	switch {
	case r.Engine == p.Identity:
		n.Unit, n.Why = r.Unit, r.Why
	case plan.unread:
		n.Unit = notRead
	default:
		n.Unit = hashOf(plan.file)
	}
	switch {
	case n.Unit == n.Wanted:
		n.Why = ""
	case why != "":
		n.Why = why
	case n.Why == "":
		n.Why = "it was written after the engine had started"
	}
	return n
}

// change is the restart that a process needs for its unit.
func (r unitRecord) change(p supervise.Identity) []agentapi.Change {
	if r.Engine != p || r.Unit == r.Wanted {
		return nil
	}
	return []agentapi.Change{{Attribute: "unit", To: r.Why, Restart: true}}
}

// keepUnit brings the record up to date, durably, before anything is done.
func (a *Agent) keepUnit(plan servicePlan) error {
	p, why := a.sup.State().Process, ""
	for _, act := range plan.actions {
		if act.Kind == units.NeedRestart && act.Target == units.EngineUnit && plan.unit != plan.file {
			why = act.Why
		}
	}
	a.mu.Lock()
	old := a.mu.unit
	a.mu.Unlock()
	next := old.next(p, plan, why)
	if next == old {
		return nil
	}
	if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, unitFile), next); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.unit = next
	return nil
}

// binaryChange is the restart that an engine of systemd's needs because the program that
// it runs is not the one that would be started now. An upgrade is taken over by a restart
// that is asked for, one node after the other, and not by the first crash.
func binaryChange(pid int, binary string) []agentapi.Change {
	runs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe") // the file itself, whatever has its name now
	if err != nil {
		return nil // it has just ended
	}
	is, err := os.Stat(binary)
	if err != nil || os.SameFile(runs, is) {
		return nil
	}
	return []agentapi.Change{{Attribute: "binary", To: binary + " was replaced after the engine had started", Restart: true}}
}
