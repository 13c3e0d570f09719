// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func computedAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"id": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "UUID of the cluster, made once. No store of another cluster is ever opened.",
		},
		"location": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "Where the cluster is, in one text: `local:/srv/orders`, `gce:acme-prod/orders`, `ssh:a=ops@10.0.0.1,b=ops@10.0.0.2`. Data sources and keys take it as their `location`, and `terraform import` as the id.",
		},
		"endpoints": schema.MapAttribute{
			ElementType: types.StringType, Computed: true,
			MarkdownDescription: "HTTP API of each node by its name: `http://127.0.x.y:8500`, or `https://10.0.0.1:8501` where there are certificates; it asks clients for one of the cluster's. Any node serves any request. An election changes nothing here.",
		},
		"ready_nodes": schema.ListAttribute{
			ElementType: types.StringType, Computed: true,
			MarkdownDescription: "Names, in order, of the nodes whose agent answers and whose engine runs. A plan in which it is short shows what is missing; an apply mends it.",
		},
		"pending": schema.ListAttribute{
			ElementType: types.StringType, Computed: true,
			MarkdownDescription: "What an apply would do for no certain node although nothing was configured anew: `create firewall rule holdfast-orders-nodes`. Empty where all is as it should be.",
		},
		"effective": schema.MapNestedAttribute{
			Computed: true,
			MarkdownDescription: "What each node is, as its agent observes it, in the words of the configuration. The plan shows what the configuration means, so every difference reads as what is → what will be. " +
				"What changes by itself (leader, counters, free space) is in the data sources `holdfast_cluster_status` and `holdfast_stores`.",
			NestedObject: schema.NestedAttributeObject{Attributes: effectiveAttributes()},
		},
	}
}

func effectiveAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"agent": schema.StringAttribute{Computed: true,
			MarkdownDescription: "`running`, or `unreachable` where no agent answered; the node's other values are then those last seen."},
		"agent_version": schema.StringAttribute{Computed: true, MarkdownDescription: "Version of the host agent."},
		"engine": schema.StringAttribute{Computed: true,
			MarkdownDescription: "`running`, `starting`, `stopped` (somebody asked for it), `failed` (it exited and is started again), `held` (killed, held in the kernel by a disk) or `none`."},
		"raft_logstore": effectiveLogStore(),
		"wal_failover": schema.SingleNestedAttribute{Computed: true, MarkdownDescription: "The failover log of the node. Whether a side is armed, well or in use changes by itself and is in `holdfast_stores`.",
			Attributes: map[string]schema.Attribute{
				"mode": schema.StringAttribute{Computed: true, MarkdownDescription: "The mode that the node is configured with."},
				"sides": schema.ListAttribute{ElementType: types.StringType, Computed: true,
					MarkdownDescription: "The directories that its logs fail over to: that of the side disk, or those of the stores. Empty where they fail over to none."},
			}},
		"stores": schema.ListNestedAttribute{Computed: true, MarkdownDescription: "The node's stores.",
			NestedObject: schema.NestedAttributeObject{Attributes: directoryAttributes("the store")}},
		"side_disk": schema.SingleNestedAttribute{Computed: true, MarkdownDescription: "The node's side disk.",
			Attributes: directoryAttributes("the side")},
		"spec_differences": schema.ListAttribute{ElementType: types.StringType, Computed: true,
			MarkdownDescription: "Every other attribute of the node's spec that differs from the configuration: `log.level: debug → info`. Empty on a node that nobody changed."},
		"pending": schema.ListAttribute{ElementType: types.StringType, Computed: true,
			MarkdownDescription: "What an apply would do on the machine although nothing was configured anew: `disks: grow the ext4 of /dev/sdb from 10G to 12G`, `gce: start machine orders-b`, or a unit, a file, a mount that somebody changed. Empty on a machine that is as it should be."},
		"restart_required": schema.ListAttribute{ElementType: types.StringType, Computed: true,
			MarkdownDescription: "What the node's running engine has not taken over from its configuration and only takes over at a restart."},
	}
}

func directoryAttributes(of string) map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"path":       schema.StringAttribute{Computed: true, MarkdownDescription: "Directory of " + of + "."},
		"device":     schema.StringAttribute{Computed: true, MarkdownDescription: "Block device below it; empty where its file system has none."},
		"size_bytes": schema.Int64Attribute{Computed: true, MarkdownDescription: "Size of its file system in bytes."},
	}
}
