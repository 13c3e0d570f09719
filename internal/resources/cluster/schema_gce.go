// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"errors"
	"net/netip"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

// What a machine on Compute Engine is where the configuration does not say.
const (
	defaultImage    = "projects/debian-cloud/global/images/family/debian-12"
	defaultUser     = "ops"
	defaultDiskType = "pd-balanced"
)

// gceAttribute is gce: what all machines have in common.
func gceAttribute() schema.Attribute {
	optional := func(s string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: s, Validators: v}
	}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "The cluster runs on Compute Engine: machines, disks and the firewall between them are made by the apply and kept what they should be. " +
			"The network is there already, and so is a way to the internet (Cloud NAT, for one) where provisioning steps need it. Credentials are in the provider's `gce`. Exactly one of `local`, `ssh` and `gce`.",
		Attributes: map[string]schema.Attribute{
			"project": schema.StringAttribute{Required: true, MarkdownDescription: "Project that all of it is in. In a project, the cluster's `name` names it: no other may have it.",
				Validators: []validator.String{validate.Project()}},
			"network":      optional("Name or path of the network. It may be left out where every node has a `subnetwork`."),
			"machine_type": optional("Machine type, for all nodes that name none: `n2-standard-4`. Another one stops the machines, one at a time.", validate.CloudName("machine type")),
			"image": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultImage),
				MarkdownDescription: "Path of the image, or of its family, for all nodes that name none: a Linux with systemd and Google's guest agent that boots by UEFI. " +
					"Another path replaces the machines, one at a time; their disks are kept. A newer image of a family does not. Default `" + defaultImage + "`."},
			"boot_disk_type":  optional("Type of the boot disks. Default: `pd-balanced`, or `hyperdisk-balanced` where the machine type takes no other. Takes effect on machines that are made."),
			"boot_disk_gb":    schema.Int64Attribute{Optional: true, MarkdownDescription: "Size of the boot disks in GB. Default: the image's. Takes effect on machines that are made.", Validators: []validator.Int64{int64validator.Between(10, 2048)}},
			"service_account": optional("Email address of the machines' service account. Left out, they have none, which is all that Holdfast needs. Another one stops the machines, one at a time."),
			"scopes": schema.ListAttribute{ElementType: types.StringType, Optional: true,
				MarkdownDescription: "What tokens of the service account may be used for. Default: `cloud-platform` alone, which leaves that to IAM. Takes effect on machines that are made."},
			"labels": schema.MapAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: "Labels of machines and disks, beside the cluster's own, which begin with `holdfast-`."},
			"tags":   schema.ListAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: "Network tags of the machines, beside the cluster's own.", Validators: []validator.List{listvalidator.ValueStringsAre(validate.CloudName("tag"))}},
			"external_addresses": boolAttribute(false, "Give every machine an external address, by which Terraform then logs in. Without, it has to reach the internal ones: from within the network, through a VPN, or through the provider's `ssh.jump`. "+
				"It cannot be changed while the machines exist."),
			"user": schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(defaultUser),
				MarkdownDescription: "User to log in as, whom the guest agent makes. Default `" + defaultUser + "`.", Validators: []validator.String{validate.User()}},
			"public_key": optional("Public key that may log in, a line of `authorized_keys`. Left out, a machine gets the public half of the provider's private key when it is made, and keeps what it has.", validate.NotEmpty()),
			"ssh_ranges": schema.ListAttribute{ElementType: types.StringType, Optional: true,
				MarkdownDescription: "Ranges of addresses that may reach port 22 of the machines: `[\"203.0.113.7/32\"]`. Left out, no rule is made for it.",
				Validators:          []validator.List{listvalidator.SizeAtLeast(1), listvalidator.ValueStringsAre(addressRange())}},
			"firewall_by_service_account": boolAttribute(false, "Name the machines in the firewall rules by their service account instead of by a network tag. Whoever may use the account is then one of the nodes."),
		},
	}
}

// cloudNodeAttributes are those of a node on Compute Engine.
func cloudNodeAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"zone": schema.StringAttribute{Optional: true, MarkdownDescription: "On Compute Engine: the zone of machine and disks. With `gce`, every node has one. They stay where they are.",
			Validators: []validator.String{validate.Zone()}},
		"subnetwork":   schema.StringAttribute{Optional: true, MarkdownDescription: "On Compute Engine: name of a subnetwork of the zone's region, or its path. Default: the network's own.", Validators: []validator.String{validate.NotEmpty()}},
		"machine_type": schema.StringAttribute{Optional: true, MarkdownDescription: "On Compute Engine: machine type. Default: `gce.machine_type`.", Validators: []validator.String{validate.CloudName("machine type")}},
		"image":        schema.StringAttribute{Optional: true, MarkdownDescription: "On Compute Engine: path of the image. Default: `gce.image`.", Validators: []validator.String{validate.NotEmpty()}},
	}
}

// cloudDiskAttributes are those of a disk that is made.
func cloudDiskAttributes() map[string]schema.Attribute {
	positive := []validator.Int64{int64validator.AtLeast(1)}
	return map[string]schema.Attribute{
		"type": schema.StringAttribute{Optional: true, MarkdownDescription: "On Compute Engine: type of the disk: `pd-ssd`, `pd-balanced`, `hyperdisk-balanced` … It stays what it is. Default `" + defaultDiskType + "`.", Validators: []validator.String{validate.CloudName("type of a disk")}},
		"iops": schema.Int64Attribute{Optional: true, MarkdownDescription: "On Compute Engine: provisioned IOPS, of types that take them. Changed in place. Default: what the type gives.", Validators: positive},
		"throughput": schema.Int64Attribute{Optional: true, MarkdownDescription: "On Compute Engine: provisioned throughput in MiB/s, of types that take it. Changed in place. Default: what the type gives.",
			Validators: positive},
	}
}

var errRange = errors.New("not a range of addresses, from its first one on")

func addressRange() validate.Text {
	return validate.Is("range", "Write it with its length: 203.0.113.0/24, or 203.0.113.7/32 for one address.", func(value string) error {
		if p, err := netip.ParsePrefix(value); err != nil || p != p.Masked() {
			return errRange
		}
		return nil
	})
}
