// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stores

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

func text(s string) schema.Attribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: s}
}

func number(s string) schema.Attribute {
	return schema.Int64Attribute{Computed: true, MarkdownDescription: s}
}

func decimal(s string) schema.Attribute {
	return schema.Float64Attribute{Computed: true, MarkdownDescription: s}
}

func flag(s string) schema.Attribute {
	return schema.BoolAttribute{Computed: true, MarkdownDescription: s}
}

func list(s string, attributes map[string]schema.Attribute) schema.Attribute {
	return schema.ListNestedAttribute{Computed: true, MarkdownDescription: s, NestedObject: schema.NestedAttributeObject{Attributes: attributes}}
}

// Schema implements datasource.DataSource.
func (d *DataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "What every store of a cluster measures: its disk, its log, its partitions, its failover. " +
			"All of it changes by itself; an output of it makes `terraform plan` report changes.",
		Attributes: map[string]schema.Attribute{
			"local":      env.LocalAttribute(),
			"location":   env.LocationAttribute(),
			"cluster_id": env.ClusterIDAttribute(),
			"stores": list("The stores of all nodes whose engine answers, in order of the nodes' names.", map[string]schema.Attribute{
				"node":               text("Name of the node."),
				"id":                 text("UUID of the store."),
				"path":               text("Directory of the store."),
				"mountpoint":         text("Where its file system is mounted."),
				"device":             text("Block device below it; empty where it is a plain directory."),
				"maj_min":            text("Major and minor number of the device, as cgroup's `io.max` wants them."),
				"size_bytes":         number("Size of the file system in bytes."),
				"free_bytes":         number("Free space of it in bytes."),
				"attrs":              schema.ListAttribute{ElementType: types.StringType, Computed: true, MarkdownDescription: "The store's attributes."},
				"configured_backend": text("What the log is configured to be kept in."),
				"effective_backend":  text("What the log is kept in."),
				"partitions": list("The raft groups whose log the store keeps.", map[string]schema.Attribute{
					"name":            text("Name of the partition."),
					"state":           text("`Leader`, `Follower`, `Candidate` or `Shutdown`."),
					"leader":          text("The leader that the node knows; empty where it knows none."),
					"term":            number("Raft's term."),
					"commit_index":    number("Last raft entry known to be committed."),
					"applied_index":   number("Last raft entry applied."),
					"last_index":      number("Last raft entry in the log."),
					"index":           number("The partition's own index: one step per command."),
					"keys":            number("Keys in the partition."),
					"last_contact_ms": number("Milliseconds since the leader was last heard; 0 on the leader, -1 where none ever was."),
					"error":           text("First background failure of the group; empty when well."),
				}),
				"failover": schema.SingleNestedAttribute{Computed: true, MarkdownDescription: "The store's failover log. Durations and counts begin with the engine; durations are nanoseconds.",
					Attributes: failoverAttributes()},
				"rates": schema.SingleNestedAttribute{Computed: true, Attributes: ratesAttributes(),
					MarkdownDescription: "What the disks of the store and the side took when they were measured, once, before the first engine used them; " +
						"null where they are not disks of their own, or there is no side disk."},
			}),
		},
	}
}

func ratesAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"data_iops":      decimal("Writes of 4 KiB a second that the store's disk took, each durable before the next."),
		"data_bandwidth": decimal("Bytes a second that the store's disk took."),
		"side_iops":      decimal("The same of the side disk."),
		"side_bandwidth": decimal("The same of the side disk."),
		"enough":         flag("Whether the side disk takes a tenth of both: a log that fails over to it is not held back."),
		"verdict":        text("The same in words."),
	}
}

func failoverAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"mode":   text("The mode that the engine runs with: `side-disk`, `among-stores` or `disabled`."),
		"active": text("What the log writes to: `primary`, the store itself, or `secondary`, its side."),
		"off":    text("Why nothing would fail over now although a mode is configured; empty where it would."),
		"sides": list("Directories that the log may fail over to.", map[string]schema.Attribute{
			"path":          text("The directory."),
			"device":        text("Block device below it; empty where its file system has none."),
			"healthy":       flag("Whether writes to it succeed in time."),
			"armed":         flag("Whether the log may write there; where it may not, nothing is ever written there."),
			"free_bytes":    number("Free space in bytes."),
			"journal_bytes": number("What the log has there that the store lacks, in bytes."),
			"budget_bytes":  number("What it may have there, in bytes."),
			"alarm":         flag("Whether 80 % of that are taken."),
			"error":         text("Why the side is of no use; empty when well."),
		}),
		"switch_count":          number("Switches from primary to secondary and back. The name of the metric is `storage.wal.failover.switch.count`."),
		"hedge_count":           number("Late operations that went to both disks without a switch."),
		"primary_duration_ns":   number("Time spent on the primary: `storage.wal.failover.primary.duration`."),
		"secondary_duration_ns": number("Time spent on the secondary: `storage.wal.failover.secondary.duration`. Where it grows, a disk hangs."),
		"hedge_ns":              number("How long a small operation may take before it is late."),
		"last_switch": schema.SingleNestedAttribute{Computed: true, MarkdownDescription: "The newest switch; null where there was none.", Attributes: map[string]schema.Attribute{
			"at":     text("When, in RFC 3339."),
			"reason": text("Why."),
		}},
		"replayed":      number("Operations that the engine took from the side when it started."),
		"pending":       number("Operations that the store has not taken yet."),
		"pending_bytes": number("Bytes of entries that the store has not taken yet."),
		"hung_ns":       number("How long the store's current call has been going on; 0 while there is none."),
		"primary_error": text("The store's newest error; empty since it answered again."),
	}
}
