// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
)

const (
	agentRunning     = "running"
	agentUnreachable = "unreachable"
	engineUnknown    = "unknown"
)

// effectiveNode is what a node is, in the words of the configuration.
type effectiveNode struct {
	Agent           string           `tfsdk:"agent"`
	AgentVersion    types.String     `tfsdk:"agent_version"`
	Engine          string           `tfsdk:"engine"`
	RaftLogStore    effectiveLog     `tfsdk:"raft_logstore"`
	WALFailover     effectiveMode    `tfsdk:"wal_failover"`
	Stores          []effectiveStore `tfsdk:"stores"`
	SideDisk        *effectiveStore  `tfsdk:"side_disk"`
	SpecDifferences []string         `tfsdk:"spec_differences"`
	RestartRequired []string         `tfsdk:"restart_required"`
	Pending         []string         `tfsdk:"pending"`
}

// engineIsThere reports whether the node had an engine that ran when it was last seen.
func (n effectiveNode) engineIsThere() bool {
	switch n.Engine {
	case agentapi.EngineRunning, agentapi.EngineStarting, agentapi.EngineHeld:
		return true
	}
	return false
}

type effectiveLog struct {
	Backend           string             `tfsdk:"backend"`
	ConfiguredBackend string             `tfsdk:"configured_backend"`
	DisableLogCache   bool               `tfsdk:"disable_log_cache"`
	Verification      verificationObject `tfsdk:"verification"`
	BoltDB            boltDBObject       `tfsdk:"boltdb"`
	WAL               walObject          `tfsdk:"wal"`
}

// effectiveMode is where the node's logs fail over to. Whether a side is armed,
// well or in use changes by itself during a stall: the data sources have that.
type effectiveMode struct {
	Mode  string   `tfsdk:"mode"`
	Sides []string `tfsdk:"sides"`
}

// effectiveStore is a directory on a disk: a store's, or the side's. A plan that does
// something to disks leaves open what they will be.
type effectiveStore struct {
	Path      string       `tfsdk:"path"`
	Device    types.String `tfsdk:"device"`
	SizeBytes types.Int64  `tfsdk:"size_bytes"`
}

func storeOf(s agentapi.StoreStatus) effectiveStore {
	return effectiveStore{Path: s.Path, Device: types.StringValue(s.Device), SizeBytes: types.Int64Value(s.SizeBytes)}
}

// open is the directory with its disk left open.
func (s effectiveStore) open() effectiveStore {
	return effectiveStore{Path: s.Path, Device: types.StringUnknown(), SizeBytes: types.Int64Unknown()}
}

// observed is what an agent's answer says in the words of the configuration. want
// is the spec that the configuration means, nil where that is not known. A node
// that does not answer keeps what was last seen of it, and one that does not tell what
// is pending keeps that.
func observed(n observe.Node, pending observe.Pending, want *agentapi.Spec, last effectiveNode) effectiveNode {
	last.Pending = nonNil(last.Pending)
	if !n.Reachable() {
		last.Agent = agentUnreachable
		if last.Engine == "" {
			last.Engine = engineUnknown
		}
		last.Stores, last.WALFailover.Sides = nonNil(last.Stores), nonNil(last.WALFailover.Sides)
		last.SpecDifferences, last.RestartRequired = nonNil(last.SpecDifferences), nonNil(last.RestartRequired)
		return last
	}
	st := n.Status
	e := effectiveNode{
		Agent:           agentRunning,
		AgentVersion:    types.StringValue(st.Agent.Version),
		Engine:          st.Engine.State,
		WALFailover:     effectiveMode{Sides: []string{}},
		Stores:          []effectiveStore{},
		SpecDifferences: differences(st.Spec, want),
		RestartRequired: changes(st.Engine.RestartRequired),
		Pending:         last.Pending,
	}
	if p, told := pending[n.Name]; told {
		e.Pending = []string{}
		for _, o := range p.Operations {
			e.Pending = append(e.Pending, o.String())
		}
	}
	if st.Spec != nil {
		e.RaftLogStore = logOf(st.Spec.RaftLogStore)
		e.WALFailover = effectiveMode{st.Spec.WALFailover.Mode, st.Spec.Sides()}
	}
	e.RaftLogStore.Backend = backendOnDisk(st)
	for _, s := range st.Stores {
		e.Stores = append(e.Stores, storeOf(s))
	}
	if s := st.Side; s != nil {
		e.SideDisk = new(storeOf(*s))
	}
	return e
}

func logOf(s agentapi.RaftLogStore) effectiveLog {
	o := logStoreOf(s)
	return effectiveLog{
		ConfiguredBackend: o.Backend, DisableLogCache: o.DisableLogCache,
		Verification: o.Verification, BoltDB: o.BoltDB, WAL: o.WAL,
	}
}

// backendOnDisk is the backend of the stores' logs as the agent finds them, or as
// the engine says; "boltdb, wal" where they differ.
func backendOnDisk(st agentapi.Status) string {
	var backends []string
	for _, s := range st.Stores {
		backends = append(backends, s.Backend)
	}
	if st.Engine.Stores != nil {
		for _, s := range st.Engine.Stores.Stores {
			if !slices.ContainsFunc(st.Stores, func(own agentapi.StoreStatus) bool { return own.Path == s.Path && own.Backend != "" }) {
				backends = append(backends, s.EffectiveBackend)
			}
		}
	}
	backends = slices.DeleteFunc(backends, func(b string) bool { return b == "" })
	slices.Sort(backends)
	return strings.Join(slices.Compact(backends), ", ")
}

// differences lists what differs between a node's spec and the one that the
// configuration means, but for what effective shows attribute by attribute.
func differences(have, want *agentapi.Spec) []string {
	switch {
	case want == nil:
		return []string{}
	case have == nil:
		return []string{"the agent has no spec"}
	}
	var all []agentapi.Change
	for _, c := range agentapi.Diff(have, want) {
		if !strings.HasPrefix(c.Attribute, "raft_logstore.") && c.Attribute != "wal_failover.mode" {
			all = append(all, c)
		}
	}
	return changes(all)
}

func changes(all []agentapi.Change) []string {
	lines := []string{}
	for _, c := range all {
		lines = append(lines, c.Attribute+": "+shown(c.From)+" → "+shown(c.To))
	}
	return lines
}

// shown is a value as a line has room for it: of a text, such as a file's content, its
// digest.
func shown(v string) string {
	const room = 80
	switch {
	case v == "":
		return "(nothing)"
	case len(v) > room || strings.ContainsAny(v, "\r\n"):
		return fmt.Sprintf("(%d bytes, sha256 %.6x…)", len(v), sha256.Sum256([]byte(v)))
	}
	return v
}

// planned is what a node will be after an apply that succeeds. What no
// configuration says stays as it is seen; what a new agent will find is unknown.
// want is the spec that the configuration means, nil where that is not known.
func (d desired) planned(name string, now effectiveNode, want *agentapi.Spec) effectiveNode {
	p := now
	p.Agent, p.Engine = agentRunning, agentapi.EngineRunning
	if now.Agent != agentRunning {
		p.AgentVersion = types.StringUnknown()
	}
	p.RaftLogStore = logOf(d.nodes[name].log)
	p.RaftLogStore.Backend = now.RaftLogStore.Backend // a log stays what it is
	if p.RaftLogStore.Backend == "" {
		p.RaftLogStore.Backend = d.nodes[name].log.Backend
	}
	p.WALFailover.Mode = d.mode
	if want != nil {
		p.WALFailover.Sides = want.Sides()
		if want.SideDisk != nil {
			side := effectiveStore{Path: want.SideDisk.Path, Device: types.StringUnknown(), SizeBytes: types.Int64Unknown()}
			if now.SideDisk != nil {
				side.Device, side.SizeBytes = now.SideDisk.Device, now.SideDisk.SizeBytes
			}
			p.SideDisk = &side
		}
	}
	if slices.ContainsFunc(now.Pending, func(line string) bool { return strings.HasPrefix(line, agentapi.PartDisks+":") }) {
		p.Stores = nil
		for _, s := range now.Stores {
			p.Stores = append(p.Stores, s.open())
		}
		if p.SideDisk != nil {
			p.SideDisk = new(p.SideDisk.open())
		}
	}
	p.SpecDifferences, p.RestartRequired, p.Pending = []string{}, []string{}, []string{}
	return p
}

// seen is effective after an apply: what was observed, but for what the plan
// promised and nothing acts on. A device may get another number when a machine is
// mended; the next refresh shows it.
func seen(now, planned effectiveNode) effectiveNode {
	observed := slices.Clone(now.Stores)
	if now.SideDisk != nil {
		observed = append(observed, *now.SideDisk)
	}
	promised := func(s effectiveStore) effectiveStore {
		was := effectiveStore{Path: s.Path, Device: types.StringValue(""), SizeBytes: types.Int64Value(0)}
		if i := slices.IndexFunc(observed, func(o effectiveStore) bool { return o.Path == s.Path }); i >= 0 {
			was = observed[i]
		}
		if s.Device.IsUnknown() {
			s.Device = was.Device
		}
		if s.SizeBytes.IsUnknown() {
			s.SizeBytes = was.SizeBytes
		}
		return s
	}
	now.Stores = []effectiveStore{}
	for _, s := range planned.Stores {
		now.Stores = append(now.Stores, promised(s))
	}
	now.SideDisk = nil
	if planned.SideDisk != nil {
		now.SideDisk = new(promised(*planned.SideDisk))
	}
	if !planned.AgentVersion.IsUnknown() {
		now.AgentVersion = planned.AgentVersion
	}
	return now
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
