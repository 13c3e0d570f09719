// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import "time"

// Names of the cluster settings.
const (
	// SettingUnhealthyOpThreshold is how long an operation of a store's disk
	// may take before its log fails over.
	SettingUnhealthyOpThreshold = "storage.wal_failover.unhealthy_op_threshold"
	// SettingMaxSyncDuration is how long one sync may take before the engine
	// gives the disk up and ends itself.
	SettingMaxSyncDuration = "storage.max_sync_duration"
)

// SettingKind is the form of a setting's value.
type SettingKind string

// KindDuration is a duration as Go writes it: "100ms", "1m30s".
const KindDuration SettingKind = "duration"

// Setting is one row of the table of cluster settings.
type Setting struct {
	Name string
	Kind SettingKind
	// Default is the value where none is set; failover says whether the
	// cluster's log may fail over.
	Default  func(failover bool) string
	Min, Max time.Duration
	Help     string
}

// settingsTable is in order of name. A value that an earlier version accepted
// must stay acceptable, and a new name may be set only once every server of
// the cluster knows it: replicas decide by this table.
var settingsTable = []Setting{
	{
		Name: SettingMaxSyncDuration,
		Kind: KindDuration,
		Default: func(failover bool) string {
			if failover {
				return "40s" // room for a failover to have been tried and missed
			}
			return "20s"
		},
		Min: 100 * time.Millisecond, Max: time.Hour,
		Help: "how long one sync may take before the engine ends itself",
	},
	{
		Name:    SettingUnhealthyOpThreshold,
		Kind:    KindDuration,
		Default: func(bool) string { return "100ms" },
		// Above the largest max_sync_duration, so that failover can be turned off
		// whatever that is.
		Min: time.Millisecond, Max: 2 * time.Hour,
		Help: "how long a disk operation may take before the log fails over",
	},
}
