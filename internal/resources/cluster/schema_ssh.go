// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

// sshAttribute is ssh: what all machines have in common.
func sshAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "The cluster runs on machines that are there, one per node, reached over SSH: `nodes.NAME.address`. Each is a Linux with systemd; the user is root or may use sudo without a password. " +
			"Keys and known hosts are in the provider's `ssh`. Exactly one of `local`, `ssh` and `gce`.",
		Attributes: map[string]schema.Attribute{
			"user": schema.StringAttribute{Optional: true, MarkdownDescription: "User to log in as, for all nodes that name none.", Validators: []validator.String{validate.User()}},
			"port": portAttribute(22, "Port of the SSH servers."),
		},
	}
}

// machineAttributes are those of a node over SSH.
func machineAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"address": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Name or IP address of the machine, where Terraform logs in. With `ssh`, every node has one. " +
				"Another one is a change in place: the machine itself says which node it is, and one that is another node, or none of this cluster, is refused.",
			Validators: []validator.String{address()},
		},
		"cluster_address": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "IP address of the machine for the other nodes and for clients: its listeners bind it. Default: `address`, where that is an IP address. On Compute Engine: a fixed internal address; default: any, which the node keeps. " +
				"The servers know each other by it, so it cannot be changed yet.",
			Validators: []validator.String{clusterAddress()},
		},
		"port": schema.Int64Attribute{Optional: true, MarkdownDescription: "Port of this machine's SSH server. Default: `ssh.port`.",
			Validators: []validator.Int64{int64validator.Between(1, 65535)}},
		"user": schema.StringAttribute{Optional: true, MarkdownDescription: "User on this machine. Default: `ssh.user`.", Validators: []validator.String{validate.User()}},
		"host_keys": schema.ListAttribute{
			ElementType: types.StringType, Optional: true,
			MarkdownDescription: "The machine's host key: a line of `known_hosts` or of `ssh_host_*_key.pub`, or a fingerprint `SHA256:…`. With several, any of them will do. " +
				"Default: what the provider's `known_hosts_file` says.",
			Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.ValueStringsAre(hostKey())},
		},
		"stores": schema.ListNestedAttribute{
			Optional:            true,
			MarkdownDescription: "Which disks of this machine the stores are on, in the order of the cluster's `stores`; goes before what is said there.",
			NestedObject:        schema.NestedAttributeObject{Attributes: deviceAttributes()},
		},
		"side_disk": schema.SingleNestedAttribute{
			Optional:            true,
			MarkdownDescription: "Which disk of this machine is the side disk; goes before the cluster's `side_disk`.",
			Attributes:          deviceAttributes(),
		},
	}
}

// deviceAttributes say which device of a machine a disk is.
func deviceAttributes() map[string]schema.Attribute {
	text := func(s string) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: s, Validators: []validator.String{validate.NotEmpty()}}
	}
	return map[string]schema.Attribute{
		"match": schema.SingleNestedAttribute{
			Optional: true,
			MarkdownDescription: "Over SSH: which device it is; all that is given has to fit, and one device alone. Left out, it is the only blank disk that is large enough and that no other names. " +
				"A disk that carries the store already is found by that, whatever its name is now. `holdfast devices` on the machine lists them.",
			Attributes: map[string]schema.Attribute{
				"name":       text("The kernel's name: `nvme1n1`, `sdb`. It may be another one after a restart: prefer what stays."),
				"serial":     text("Serial number."),
				"wwn":        text("World wide name."),
				"by_id":      text("Name of its link in `/dev/disk/by-id`."),
				"size_bytes": schema.Int64Attribute{Optional: true, MarkdownDescription: "Its exact size in bytes.", Validators: []validator.Int64{int64validator.AtLeast(1)}},
			},
		},
		"wipe": schema.SingleNestedAttribute{
			Optional: true,
			MarkdownDescription: "Over SSH: what may be destroyed on the device to make the file system, as `blkid` names it. Without it only a blank disk is formatted, ever. " +
				"Remove it once the cluster is there.",
			Attributes: map[string]schema.Attribute{
				"type": schema.StringAttribute{Required: true, MarkdownDescription: "Type of the file system that goes: `ext4`, `xfs` …", Validators: []validator.String{validate.NotEmpty()}},
				"uuid": schema.StringAttribute{Required: true, MarkdownDescription: "UUID of it.", Validators: []validator.String{validate.NotEmpty()}},
			},
		},
	}
}

// tlsAttribute is tls: how certificates are made.
func tlsAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "The cluster's certificates. The nodes make them: the CA's key is on every node and nowhere else, a node's own key never leaves it. " +
			"With `ssh` there are certificates whenever nodes have other addresses than loopback, with or without this; with `local` there are none.",
		Attributes: map[string]schema.Attribute{
			"hosts": schema.ListAttribute{ElementType: types.StringType, Optional: true,
				MarkdownDescription: "Names and addresses that every node's certificate is for, beside the node's name, its `cluster_address` and loopback: that of a load balancer, for example.",
				Validators:          []validator.List{listvalidator.ValueStringsAre(tlsHost())}},
			"certificate_rotation": schema.StringAttribute{Optional: true,
				MarkdownDescription: "Any word: with another one, every node makes its key and certificate anew. The engines take them over without a restart."},
			"ca_rotation": schema.StringAttribute{Optional: true,
				MarkdownDescription: "Any word: with another one, the cluster gets a new CA and every node a certificate of it, while all of it serves. Clients trust both CAs in between."},
		},
	}
}

// provisionAttribute is provision: what is done on machines before disks and engines.
func provisionAttribute() schema.Attribute {
	return steps.OnNodes("Over SSH: steps that are done on the machines as root, in this order, before disks and engines. Each machine keeps on record what was done: " +
		"an edited step runs again, an unchanged one does not, and a file that somebody changed is written again. Steps have to bear being repeated. All of it is in plan and state; secrets belong into `provision_secrets`.")
}

// secretsAttributes are provision_secrets and its version.
func secretsAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"provision_secrets": schema.MapAttribute{
			ElementType: types.StringType, Optional: true, Sensitive: true, WriteOnly: true,
			MarkdownDescription: "Secrets of the provisioning steps by name, which `secret_env` and `secret_vars` name. They are in no plan and no state, go to the agents with every apply, and are kept by no machine. " +
				"Values may be ephemeral. Terraform 1.11 or OpenTofu 1.11 is needed for it. Terraform does not see that one changed: see `provision_secrets_version`.",
		},
		"provision_secrets_version": schema.StringAttribute{
			Optional:            true,
			MarkdownDescription: "Any word or number: change it when only secrets changed, so that there is an apply. Steps whose secrets differ run again.",
		},
	}
}

// sizeOf is size_gb of a disk.
func sizeOf(value int64, text string, v validator.Int64) schema.Int64Attribute {
	return schema.Int64Attribute{
		Optional: true, Computed: true, Default: int64default.StaticInt64(value),
		MarkdownDescription: text, Validators: []validator.Int64{v},
	}
}
