// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

const (
	backendText = "Where the raft log is kept: `wal` (raft-wal) or `boltdb` (raft-boltdb). A store that has a log keeps it, so a change on an existing cluster is refused until conversions are built."
	cacheText   = "Read every log entry from disk instead of keeping the latest in memory. For tests of disks."
	segmentText = "Size in MiB of a segment of the write-ahead log, 1 to 1024. Only new segments follow a change."
	freelist    = "Do not write BoltDB's free list with every commit: faster writes, a slower start. `boltdb` only."
	verifyText  = "Write checksums of log ranges from the leader and have every server verify its own copy: reports are in the engines' logs and in `/_status/stores`. For all nodes, or those that lead without it write no checksums."
	intervalTxt = "Time between two checksums, as Go writes durations: `60s`, `5m`."
)

// logStoreAttribute is raft_logstore of the cluster: what is left out is the default.
func logStoreAttribute() schema.Attribute {
	return object("The store of the raft log, in Consul's words. A change restarts the engines one at a time, followers first.", map[string]schema.Attribute{
		"backend": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString("wal"),
			MarkdownDescription: backendText + " Default `wal`.",
			Validators:          []validator.String{oneOf(agentapi.Backends...)},
		},
		"disable_log_cache": boolAttribute(false, cacheText),
		"verification": object("Verification of the log against silent corruption.", map[string]schema.Attribute{
			"enabled": boolAttribute(false, verifyText),
			"interval": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(agentapi.DefaultInterval),
				MarkdownDescription: intervalTxt + " Default `60s`.",
				Validators:          []validator.String{validate.Duration()},
			},
		}),
		"boltdb": object("What only the backend `boltdb` reads.", map[string]schema.Attribute{
			"no_freelist_sync": boolAttribute(false, freelist),
		}),
		"wal": object("What only the backend `wal` reads.", map[string]schema.Attribute{
			"segment_size_mb": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(64),
				MarkdownDescription: segmentText + " Default `64`.",
				Validators:          []validator.Int64{int64validator.Between(1, 1024)},
			},
		}),
	})
}

// logStoreOverride is raft_logstore of one node: what is left out is the cluster's.
func logStoreOverride() schema.Attribute {
	return schema.SingleNestedAttribute{
		Optional:            true,
		MarkdownDescription: "What differs on this node from the cluster's `raft_logstore`: a canary. What is left out is the cluster's.",
		Attributes: map[string]schema.Attribute{
			"backend": schema.StringAttribute{Optional: true, MarkdownDescription: backendText,
				Validators: []validator.String{oneOf(agentapi.Backends...)}},
			"disable_log_cache": schema.BoolAttribute{Optional: true, MarkdownDescription: cacheText},
			"verification": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "Verification of the log against silent corruption.",
				Attributes: map[string]schema.Attribute{
					"enabled": schema.BoolAttribute{Optional: true, MarkdownDescription: verifyText},
					"interval": schema.StringAttribute{Optional: true, MarkdownDescription: intervalTxt,
						Validators: []validator.String{validate.Duration()}},
				}},
			"boltdb": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "What only the backend `boltdb` reads.",
				Attributes: map[string]schema.Attribute{
					"no_freelist_sync": schema.BoolAttribute{Optional: true, MarkdownDescription: freelist},
				}},
			"wal": schema.SingleNestedAttribute{Optional: true, MarkdownDescription: "What only the backend `wal` reads.",
				Attributes: map[string]schema.Attribute{
					"segment_size_mb": schema.Int64Attribute{Optional: true, MarkdownDescription: segmentText,
						Validators: []validator.Int64{int64validator.Between(1, 1024)}},
				}},
		},
	}
}

// effectiveLogStore is raft_logstore as a node has it.
func effectiveLogStore() schema.Attribute {
	text := func(s string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: s}
	}
	flag := func(s string) schema.BoolAttribute {
		return schema.BoolAttribute{Computed: true, MarkdownDescription: s}
	}
	group := func(s string, a map[string]schema.Attribute) schema.SingleNestedAttribute {
		return schema.SingleNestedAttribute{Computed: true, MarkdownDescription: s, Attributes: a}
	}
	attributes := map[string]schema.Attribute{
		"backend":            text("What the log on the node's disk is kept in: `wal` or `boltdb`."),
		"configured_backend": text("What the node is configured to keep it in. A log that is already there stays in its own backend, whichever is configured."),
	}
	maps.Copy(attributes, map[string]schema.Attribute{
		"disable_log_cache": flag(cacheText),
		"verification":      group("Verification of the log.", map[string]schema.Attribute{"enabled": flag(verifyText), "interval": text(intervalTxt)}),
		"boltdb":            group("What only the backend `boltdb` reads.", map[string]schema.Attribute{"no_freelist_sync": flag(freelist)}),
		"wal": group("What only the backend `wal` reads.", map[string]schema.Attribute{
			"segment_size_mb": schema.Int64Attribute{Computed: true, MarkdownDescription: segmentText}}),
	})
	return group("The log store of the node.", attributes)
}
