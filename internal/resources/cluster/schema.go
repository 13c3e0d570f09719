// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// minSideGB is the smallest side disk, in GiB.
const minSideGB = 25

const (
	filesystemExt4 = "ext4"
	filesystemXFS  = "xfs"
)

// Schema implements resource.Resource.
func (r *Resource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = clusterSchema(ctx)
}

func clusterSchema(ctx context.Context) schema.Schema {
	s := schema.Schema{
		MarkdownDescription: "A replicated, strongly consistent key-value cluster: its nodes with their disks, host agents, engines and settings.\n\n" +
			"Every plan asks each node what it is. What somebody changed on a node shows in `effective`, with both values, and an apply puts it back.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "Name of the cluster: letters, digits and dashes, 63 at most, with a letter or digit at both ends. " +
					"Every store carries it. It cannot be changed while the cluster exists.",
				Validators: []validator.String{clusterName()},
			},
			"local": schema.SingleNestedAttribute{
				Optional: true,
				MarkdownDescription: "The cluster runs on this machine: each node has an address of its own in 127.0.0.0/8 and is a pair of processes, agent and engine. " +
					"As root each node's disks are loop devices over sparse files; otherwise they are directories. Exactly one of `local`, `ssh` and `gce`.",
				Attributes: map[string]schema.Attribute{
					"directory": schema.StringAttribute{
						Required: true,
						MarkdownDescription: "Absolute path of the directory that holds everything of the cluster; `abspath(\".holdfast\")` makes a relative one absolute. " +
							"It is made if it does not exist and is empty after a destroy. One directory holds one cluster. It cannot be changed while the cluster exists.",
						Validators: []validator.String{absolutePath()},
					},
				},
			},
			"ssh": sshAttribute(),
			"gce": gceAttribute(),
			"nodes": schema.MapNestedAttribute{
				Required: true,
				MarkdownDescription: "The nodes, keyed by name (a DNS label in lower case). " +
					"An odd number of voters is best: an even one survives no more failures than one fewer. Adding and removing nodes of an existing cluster is not built yet.",
				Validators:   []validator.Map{mapvalidator.KeysAre(nodeName())},
				NestedObject: schema.NestedAttributeObject{Attributes: nodeAttributes()},
			},
			"ports": object("Ports of every node, Consul's by default. They cannot be changed while the cluster exists.", map[string]schema.Attribute{
				"server": portAttribute(8300, "Port of the server RPC: raft and forwarding between nodes."),
				"http":   portAttribute(8500, "Port of the HTTP API. Where there are certificates it is on each node's loopback alone."),
				"https":  portAttribute(8501, "Port of the HTTP API over TLS, where there are certificates."),
			}),
			"stores": schema.ListNestedAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "The stores of each node; each is a directory on a data disk of its own and keeps one partition, the first the partition `default`. Default: one store.",
				Validators:          []validator.List{listvalidator.SizeAtLeast(1)},
				NestedObject:        schema.NestedAttributeObject{Attributes: storeAttributes()},
				Default:             listdefault.StaticValue(oneStore()),
			},
			"side_disk":     object("The small disk beside the data disk that the log fails over to with `wal_failover.mode = \"side-disk\"`. It is made, mounted and shown in any mode.", sideAttributes()),
			"raft_logstore": logStoreAttribute(),
			"wal_failover": object("What a log does while its disk hangs: it writes elsewhere, and goes back when the disk is well again.", map[string]schema.Attribute{
				"mode": schema.StringAttribute{
					Optional: true, Computed: true, Default: stringdefault.StaticString(modeDisabled),
					MarkdownDescription: "`side-disk`: to the side disk, on nodes of one store. `among-stores`: each store's log to the next store of its node, of which there are two at least. `disabled`, the default: it waits. " +
						"A change restarts the engines one at a time; what a log has on the side that it leaves is taken from there first, without being asked for. " +
						"While the engines run, the settings turn failover off and on: off is a threshold above `storage.max_sync_duration`.",
					Validators: []validator.String{oneOf(agentapi.Modes...)},
				},
			}),
			"settings": schema.MapAttribute{
				ElementType: types.StringType, Optional: true,
				MarkdownDescription: "Cluster settings by name, replicated and changed while the cluster runs. This map is their only owner: what somebody else sets is shown by the next plan and taken back by the next apply. " +
					"A setting that is not in the map has its default. " + settingsList() + " A threshold above `storage.max_sync_duration` turns failover off while the engines run.",
				Validators: []validator.Map{settingsValidator{}},
			},
			"log": object("The engines' log.", map[string]schema.Attribute{
				"level": schema.StringAttribute{
					Optional: true, Computed: true, Default: stringdefault.StaticString("info"),
					MarkdownDescription: "`trace`, `debug`, `info`, `warn` or `error`. Takes effect without a restart. Default `info`.",
					Validators:          []validator.String{oneOf(agentapi.LogLevels...)},
				},
				"buffering": bufferingAttribute(),
			}),
			"server": object("Consul's rules for leaving the cluster. **The engine of this version records them and never leaves:** a server that stops stays a member.", map[string]schema.Attribute{
				"leave_on_terminate":      boolAttribute(false, "Leave the cluster on SIGTERM; otherwise the server stays a member and comes back."),
				"skip_leave_on_interrupt": boolAttribute(true, "Do not leave the cluster on SIGINT."),
				"rejoin_after_leave":      boolAttribute(true, "Join again at the start after a leave."),
			}),
			"tls":       tlsAttribute(),
			"provision": provisionAttribute(),
			"deletion_protection": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "While `true`, the default, a plan or apply that would destroy the cluster is an error. To destroy it, set `false`, apply, then destroy: all its data goes with it.",
			},
			"binary": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Path of the `holdfast` binary for agents and engines. Default: the provider's `binary`, `HOLDFAST_BINARY`, one beside the provider, one on `PATH`. " +
					"With `local`, agents and engines that run keep the one they were started with. Otherwise, every apply that changes anything puts it on the machines: " +
					"where it is another one, their agents are restarted with it, and engines that run keep theirs until they restart.",
			},
			"timeouts": timeouts.Attributes(ctx, timeouts.Opts{
				Create: true, CreateDescription: "How long making the cluster may take, up to a ready leader. Default `10m`, with `ssh` and `gce` `30m`.",
				Update: true, UpdateDescription: "How long an apply to the existing cluster may take, restarts included. Default `30m`.",
				Delete: true, DeleteDescription: "How long destroying may take. Default `10m`.",
			}),
		},
	}
	maps.Copy(s.Attributes, secretsAttributes())
	maps.Copy(s.Attributes, computedAttributes())
	return s
}

func nodeAttributes() map[string]schema.Attribute {
	all := map[string]schema.Attribute{
		"voter": schema.BoolAttribute{
			Optional: true, Computed: true, Default: booldefault.StaticBool(true),
			MarkdownDescription: "Whether the server votes. One that does not only follows and counts for no majority. Default `true`. It cannot be changed yet.",
		},
		"raft_logstore": logStoreOverride(),
	}
	maps.Copy(all, machineAttributes())
	maps.Copy(all, cloudNodeAttributes())
	return all
}

func sideAttributes() map[string]schema.Attribute {
	all := deviceAttributes()
	maps.Copy(all, cloudDiskAttributes())
	all["size_gb"] = sizeOf(minSideGB, "Size in GiB, 25 at least. On this machine the file is sparse and takes only what is written, and it cannot be changed while the cluster exists. "+
		"Over SSH it is the least size that the disk has to have. On Compute Engine the disk is made as large and may be made larger. Its IOPS and throughput have to be a tenth of the data disk's at least. Default `25`.", sideDiskSize{})
	return all
}

func storeAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"disk": object("The data disk below the store.", dataDiskAttributes()),
		"filesystem": schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString(filesystemExt4),
			MarkdownDescription: "`ext4` (the default) or `xfs`. It cannot be changed while the cluster exists.",
			Validators:          []validator.String{oneOf(filesystemExt4, filesystemXFS)},
		},
		"attrs": schema.ListAttribute{
			ElementType: types.StringType, Optional: true,
			MarkdownDescription: "Words that describe the store, `ssd` for example. A change restarts the engines one at a time.",
			Validators:          []validator.List{listvalidator.ValueStringsAre(word())},
		},
	}
}

func dataDiskAttributes() map[string]schema.Attribute {
	all := deviceAttributes()
	maps.Copy(all, cloudDiskAttributes())
	all["size_gb"] = sizeOf(10, "Size in GiB. On this machine the file is sparse and takes only what is written, and it cannot be changed while the cluster exists. "+
		"Over SSH it is the least size that the disk has to have; a disk that was made larger is used to its end. On Compute Engine the disk is made as large, and grows while it is in use. Default `10`.", int64validator.Between(1, 64<<10))
	return all
}
