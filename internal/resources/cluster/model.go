// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
)

// model is the resource as Terraform holds it.
type model struct {
	ID           types.String `tfsdk:"id"`
	Name         types.String `tfsdk:"name"`
	Local        types.Object `tfsdk:"local"`
	SSH          types.Object `tfsdk:"ssh"`
	GCE          types.Object `tfsdk:"gce"`
	Nodes        types.Map    `tfsdk:"nodes"`
	Ports        types.Object `tfsdk:"ports"`
	Stores       types.List   `tfsdk:"stores"`
	SideDisk     types.Object `tfsdk:"side_disk"`
	RaftLogStore types.Object `tfsdk:"raft_logstore"`
	WALFailover  types.Object `tfsdk:"wal_failover"`
	Settings     types.Map    `tfsdk:"settings"`
	Log          types.Object `tfsdk:"log"`
	Server       types.Object `tfsdk:"server"`
	TLS          types.Object `tfsdk:"tls"`
	Provision    types.List   `tfsdk:"provision"`
	// ProvisionSecrets is in a configuration alone: plans and states never have it.
	ProvisionSecrets   types.Map      `tfsdk:"provision_secrets"`
	SecretsVersion     types.String   `tfsdk:"provision_secrets_version"`
	DeletionProtection types.Bool     `tfsdk:"deletion_protection"`
	Binary             types.String   `tfsdk:"binary"`
	Timeouts           timeouts.Value `tfsdk:"timeouts"`
	Location           types.String   `tfsdk:"location"`
	Endpoints          types.Map      `tfsdk:"endpoints"`
	ReadyNodes         types.List     `tfsdk:"ready_nodes"`
	Pending            types.List     `tfsdk:"pending"`
	Effective          types.Map      `tfsdk:"effective"`
}

// The nested objects, as Go values. Only a value that is wholly known fits.
type (
	localObject struct {
		Directory string `tfsdk:"directory"`
	}
	sshObject struct {
		User *string `tfsdk:"user"`
		Port int64   `tfsdk:"port"`
	}
	nodeObject struct {
		Voter          bool             `tfsdk:"voter"`
		Address        *string          `tfsdk:"address"`
		ClusterAddress *string          `tfsdk:"cluster_address"`
		Port           *int64           `tfsdk:"port"`
		User           *string          `tfsdk:"user"`
		HostKeys       []string         `tfsdk:"host_keys"`
		Stores         []deviceObject   `tfsdk:"stores"`
		SideDisk       *deviceObject    `tfsdk:"side_disk"`
		Zone           *string          `tfsdk:"zone"`
		Subnetwork     *string          `tfsdk:"subnetwork"`
		MachineType    *string          `tfsdk:"machine_type"`
		Image          *string          `tfsdk:"image"`
		RaftLogStore   *logStoreOverlay `tfsdk:"raft_logstore"`
	}
	deviceObject struct {
		Match *matchObject `tfsdk:"match"`
		Wipe  *wipeObject  `tfsdk:"wipe"`
	}
	matchObject struct {
		Name      *string `tfsdk:"name"`
		Serial    *string `tfsdk:"serial"`
		WWN       *string `tfsdk:"wwn"`
		ByID      *string `tfsdk:"by_id"`
		SizeBytes *int64  `tfsdk:"size_bytes"`
	}
	wipeObject struct {
		Type string `tfsdk:"type"`
		UUID string `tfsdk:"uuid"`
	}
	tlsObject struct {
		Hosts               []string `tfsdk:"hosts"`
		CertificateRotation *string  `tfsdk:"certificate_rotation"`
		CARotation          *string  `tfsdk:"ca_rotation"`
	}
	logStoreOverlay struct {
		Backend         *string              `tfsdk:"backend"`
		DisableLogCache *bool                `tfsdk:"disable_log_cache"`
		Verification    *verificationOverlay `tfsdk:"verification"`
		BoltDB          *boltDBOverlay       `tfsdk:"boltdb"`
		WAL             *walOverlay          `tfsdk:"wal"`
	}
	verificationOverlay struct {
		Enabled  *bool   `tfsdk:"enabled"`
		Interval *string `tfsdk:"interval"`
	}
	boltDBOverlay struct {
		NoFreelistSync *bool `tfsdk:"no_freelist_sync"`
	}
	walOverlay struct {
		SegmentSizeMB *int64 `tfsdk:"segment_size_mb"`
	}
	portsObject struct {
		Server int64  `tfsdk:"server"`
		HTTP   int64  `tfsdk:"http"`
		HTTPS  *int64 `tfsdk:"https"` // states of earlier versions have none
	}
	storeObject struct {
		Disk       diskObject `tfsdk:"disk"`
		FileSystem string     `tfsdk:"filesystem"`
		Attrs      []string   `tfsdk:"attrs"`
	}
	diskObject struct {
		SizeGB     int64        `tfsdk:"size_gb"`
		Match      *matchObject `tfsdk:"match"`
		Wipe       *wipeObject  `tfsdk:"wipe"`
		Type       *string      `tfsdk:"type"`
		IOPS       *int64       `tfsdk:"iops"`
		Throughput *int64       `tfsdk:"throughput"`
	}
	logStoreObject struct {
		Backend         string             `tfsdk:"backend"`
		DisableLogCache bool               `tfsdk:"disable_log_cache"`
		Verification    verificationObject `tfsdk:"verification"`
		BoltDB          boltDBObject       `tfsdk:"boltdb"`
		WAL             walObject          `tfsdk:"wal"`
	}
	verificationObject struct {
		Enabled  bool   `tfsdk:"enabled"`
		Interval string `tfsdk:"interval"`
	}
	boltDBObject struct {
		NoFreelistSync bool `tfsdk:"no_freelist_sync"`
	}
	walObject struct {
		SegmentSizeMB int64 `tfsdk:"segment_size_mb"`
	}
	modeObject struct {
		Mode string `tfsdk:"mode"`
	}
	logObject struct {
		Level     string           `tfsdk:"level"`
		Buffering *bufferingObject `tfsdk:"buffering"`
	}
	bufferingObject struct {
		MaxStaleness     string `tfsdk:"max_staleness"`
		FlushTriggerSize string `tfsdk:"flush_trigger_size"`
		MaxBufferSize    string `tfsdk:"max_buffer_size"`
	}
	serverObject struct {
		LeaveOnTerminate     bool `tfsdk:"leave_on_terminate"`
		SkipLeaveOnInterrupt bool `tfsdk:"skip_leave_on_interrupt"`
		RejoinAfterLeave     bool `tfsdk:"rejoin_after_leave"`
	}
)

// decode reads a value that must be wholly known into a Go value; ok is false
// where it is not, or not there.
func decode[T any](ctx context.Context, v attr.Value, diags *diag.Diagnostics) (t T, ok bool) {
	raw, err := v.ToTerraformValue(ctx)
	if err != nil || v.IsNull() || !raw.IsFullyKnown() {
		return t, false
	}
	var ds diag.Diagnostics
	switch v := v.(type) {
	case types.Object:
		ds = v.As(ctx, &t, basetypes.ObjectAsOptions{})
	case types.Map:
		ds = v.ElementsAs(ctx, &t, false)
	case types.List:
		ds = v.ElementsAs(ctx, &t, false)
	default:
		return t, false
	}
	diags.Append(ds...)
	return t, !ds.HasError()
}

// desired is what the configuration means; ok is false while a part of it is
// not known yet.
func (m *model) desired(ctx context.Context, diags *diag.Diagnostics) (d desired, ok bool) {
	known := !m.Name.IsUnknown() && !m.Name.IsNull() && !m.Settings.IsUnknown() && !m.Binary.IsUnknown()
	part := func(ok bool) { known = known && ok }

	nodes, ok := decode[map[string]nodeObject](ctx, m.Nodes, diags)
	part(ok)
	where, ok := m.place(ctx, diags)
	part(ok)
	ports, ok := decode[portsObject](ctx, m.Ports, diags)
	part(ok)
	stores, ok := decode[[]storeObject](ctx, m.Stores, diags)
	part(ok)
	side, ok := decode[diskObject](ctx, m.SideDisk, diags)
	part(ok)
	logStore, ok := decode[logStoreObject](ctx, m.RaftLogStore, diags)
	part(ok)
	mode, ok := decode[modeObject](ctx, m.WALFailover, diags)
	part(ok)
	log, ok := decode[logObject](ctx, m.Log, diags)
	part(ok)
	rules, ok := decode[serverObject](ctx, m.Server, diags)
	part(ok)
	var secured tlsObject
	if !m.TLS.IsNull() {
		secured, ok = decode[tlsObject](ctx, m.TLS, diags)
		part(ok)
	}
	var done []steps.OnNode
	if !m.Provision.IsNull() {
		done, ok = decode[[]steps.OnNode](ctx, m.Provision, diags)
		part(ok)
	}
	set := map[string]string{}
	if !m.Settings.IsNull() {
		set, ok = decode[map[string]string](ctx, m.Settings, diags)
		part(ok)
	}
	if !known {
		return desired{}, false
	}
	d = desired{
		name: m.Name.ValueString(), location: where, binary: m.Binary.ValueString(),
		ports:  agentapi.Ports{Server: int(ports.Server), HTTP: int(ports.HTTP)},
		nodes:  map[string]desiredNode{},
		sideGB: side.SizeGB, mode: mode.Mode, engineLog: log.spec(),
		rules:    agentapi.ServerRules(rules),
		settings: set,
	}
	if where.Remote() && (!m.TLS.IsNull() || reachable(where)) {
		d.tls = &agentapi.TLS{Hosts: secured.Hosts, Rotation: deref(secured.CertificateRotation)}
		d.caRotation = deref(secured.CARotation)
		d.ports.HTTPS = int(deref(ports.HTTPS))
	}
	for _, s := range stores {
		d.stores = append(d.stores, desiredStore{sizeGB: s.Disk.SizeGB, fileSystem: s.FileSystem, attrs: s.Attrs})
	}
	for name, n := range nodes {
		node := desiredNode{voter: n.Voter, log: n.RaftLogStore.over(logStore.spec())}
		for i, s := range stores {
			var own *deviceObject
			if i < len(n.Stores) {
				own = &n.Stores[i]
			}
			node.disks = append(node.disks, s.Disk.device(own))
		}
		node.side = side.device(n.SideDisk)
		d.nodes[name] = node
	}
	for _, s := range done {
		d.provision = append(d.provision, s.Spec())
	}
	if !m.GCE.IsNull() {
		cloud, ok := decode[gceObject](ctx, m.GCE, diags)
		if !ok || m.DeletionProtection.IsUnknown() {
			return desired{}, false
		}
		d.cloud = cloud.machines(nodes, stores, side)
		d.cloud.DeletionProtection = m.DeletionProtection.ValueBool()
	}
	return d, true
}

// place is where the cluster is; ok is false while that is not known.
func (m *model) place(ctx context.Context, diags *diag.Diagnostics) (l env.Location, ok bool) {
	if !m.Local.IsNull() {
		local, ok := decode[localObject](ctx, m.Local, diags)
		return env.Location{Directory: local.Directory}, ok
	}
	if !m.GCE.IsNull() {
		project, ok := attribute[types.String](m.GCE, "project")
		return env.Location{Project: project.ValueString(), Cluster: m.Name.ValueString()}, ok && !m.Name.IsUnknown()
	}
	ssh, ok := decode[sshObject](ctx, m.SSH, diags)
	nodes, known := decode[map[string]nodeObject](ctx, m.Nodes, diags)
	if !ok || !known {
		return env.Location{}, false
	}
	l.Machines = map[string]env.Machine{}
	for name, n := range nodes {
		machine := env.Machine{User: deref(cmp.Or(n.User, ssh.User)), Address: env.Normal(deref(n.Address)), Port: int(ssh.Port)}
		if n.Port != nil {
			machine.Port = int(*n.Port)
		}
		if c := env.Normal(deref(n.ClusterAddress)); c != machine.Address {
			machine.ClusterAddress = c
		}
		for _, line := range n.HostKeys {
			key, err := env.HostKey(line)
			if err != nil {
				diags.AddError("Invalid host key", fmt.Sprintf("nodes[%q].host_keys: %q: %v", name, line, err))
				return env.Location{}, false
			}
			machine.HostKeys = append(machine.HostKeys, key)
		}
		l.Machines[name] = machine
	}
	return l, true
}

// reachable tells whether others than the machine itself reach a node of the cluster.
func reachable(l env.Location) bool {
	if l.Project != "" {
		return true
	}
	for _, m := range l.Machines {
		if ip, err := netip.ParseAddr(m.Cluster()); err != nil || !ip.IsLoopback() {
			return true
		}
	}
	return false
}

// device is the disk of a node: what the node says goes before what all nodes have.
func (o diskObject) device(own *deviceObject) platform.Device {
	match, wipe := o.Match, o.Wipe
	if own != nil {
		match, wipe = cmp.Or(own.Match, match), cmp.Or(own.Wipe, wipe)
	}
	var d platform.Device
	if match != nil {
		d.Match = match.spec()
	}
	if wipe != nil {
		d.Wipe = &agentapi.DiskContent{Type: wipe.Type, UUID: wipe.UUID}
	}
	return d
}

func (o matchObject) spec() agentapi.DiskMatch {
	return agentapi.DiskMatch{Name: deref(o.Name), Serial: deref(o.Serial), WWN: deref(o.WWN), ByID: deref(o.ByID), SizeBytes: deref(o.SizeBytes)}
}

// deviceOf is the opposite of device, nil where a disk says nothing.
func deviceOf(match agentapi.DiskMatch, wipe *agentapi.DiskContent) *deviceObject {
	var o deviceObject
	if match != (agentapi.DiskMatch{}) {
		o.Match = &matchObject{Name: own(match.Name, ""), Serial: own(match.Serial, ""), WWN: own(match.WWN, ""), ByID: own(match.ByID, ""), SizeBytes: own(match.SizeBytes, 0)}
	}
	if wipe != nil {
		o.Wipe = &wipeObject{Type: wipe.Type, UUID: wipe.UUID}
	}
	if o == (deviceObject{}) {
		return nil
	}
	return &o
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func (o logObject) spec() agentapi.Log {
	return agentapi.Log{Level: o.Level, Buffering: (*agentapi.Buffering)(o.Buffering)}
}

func logObjectOf(l agentapi.Log) logObject {
	return logObject{Level: l.Level, Buffering: (*bufferingObject)(l.Buffering)}
}

func (o logStoreObject) spec() agentapi.RaftLogStore {
	return agentapi.RaftLogStore{
		Backend: o.Backend, DisableLogCache: o.DisableLogCache,
		Verification: agentapi.Verification(o.Verification),
		BoltDB:       agentapi.BoltDB(o.BoltDB),
		WAL:          agentapi.WAL{SegmentSizeMB: int(o.WAL.SegmentSizeMB)},
	}
}

func logStoreOf(s agentapi.RaftLogStore) logStoreObject {
	return logStoreObject{
		Backend: s.Backend, DisableLogCache: s.DisableLogCache,
		Verification: verificationObject(s.Verification),
		BoltDB:       boltDBObject(s.BoltDB),
		WAL:          walObject{SegmentSizeMB: int64(s.WAL.SegmentSizeMB)},
	}
}

// over is the cluster's log store with what the node sets itself.
func (o *logStoreOverlay) over(s agentapi.RaftLogStore) agentapi.RaftLogStore {
	if o == nil {
		return s
	}
	set(&s.Backend, o.Backend)
	set(&s.DisableLogCache, o.DisableLogCache)
	if v := o.Verification; v != nil {
		set(&s.Verification.Enabled, v.Enabled)
		set(&s.Verification.Interval, v.Interval)
	}
	if b := o.BoltDB; b != nil {
		set(&s.BoltDB.NoFreelistSync, b.NoFreelistSync)
	}
	if w := o.WAL; w != nil && w.SegmentSizeMB != nil {
		s.WAL.SegmentSizeMB = int(*w.SegmentSizeMB)
	}
	return s
}

// overlayOf is the opposite of over: what a node sets itself so that base, the
// cluster's, becomes s. Nil where it sets nothing.
func overlayOf(s, base agentapi.RaftLogStore) *logStoreOverlay {
	o := logStoreOverlay{
		Backend:         own(s.Backend, base.Backend),
		DisableLogCache: own(s.DisableLogCache, base.DisableLogCache),
	}
	if s.Verification != base.Verification {
		o.Verification = &verificationOverlay{
			Enabled:  own(s.Verification.Enabled, base.Verification.Enabled),
			Interval: own(s.Verification.Interval, base.Verification.Interval),
		}
	}
	if s.BoltDB != base.BoltDB {
		o.BoltDB = &boltDBOverlay{NoFreelistSync: &s.BoltDB.NoFreelistSync}
	}
	if s.WAL != base.WAL {
		size := int64(s.WAL.SegmentSizeMB)
		o.WAL = &walOverlay{SegmentSizeMB: &size}
	}
	if o == (logStoreOverlay{}) {
		return nil
	}
	return &o
}

// own is a value that differs from the cluster's, nil where it does not.
func own[T comparable](value, base T) *T {
	if value == base {
		return nil
	}
	return &value
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}
