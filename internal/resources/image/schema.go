// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

const (
	defaultSource  = "projects/debian-cloud/global/images/family/debian-12"
	defaultMachine = "e2-medium"
	defaultUser    = "ops"
	minDiskGB      = 10
	maxDiskGB      = 2048
)

// Schema implements resource.Resource.
func (r *Resource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	optional := func(s string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: s, Validators: v}
	}
	computed := func(s string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: s, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()}}
	}
	withDefault := func(value, s string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(value), MarkdownDescription: s + " Default `" + value + "`.", Validators: v}
	}
	texts := func(s string) schema.MapAttribute {
		return schema.MapAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: s}
	}
	attributes := map[string]schema.Attribute{
		"project": schema.StringAttribute{Required: true, MarkdownDescription: "Project that the image is made in, and belongs to. Another one is another image.",
			Validators: []validator.String{validate.Project()}, PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()}},
		"name": schema.StringAttribute{Required: true, MarkdownDescription: "Beginning of the image's name, 52 characters at most; its end says what is in it. In a project no other `holdfast_image` may have it: machines that were left over are found by it.",
			Validators: []validator.String{validate.CloudName("name of an image")}},
		"source_image": withDefault(defaultSource, "Path of the image, or of the family, that it begins as: a Linux with systemd and Google's guest agent that boots by UEFI. Another path is another image; a newer image of the family is not: see `triggers`.", validate.NotEmpty()),
		"disk_gb": schema.Int64Attribute{Optional: true, MarkdownDescription: "Size of the image in GB. Default: the source's. Another one is another image.",
			Validators: []validator.Int64{int64validator.Between(minDiskGB, maxDiskGB)}},
		"provision": steps.Attribute("Steps that are done on the machine as root, in this order, after agent and engine were installed. Whatever differs in them is another image. All of it is in plan and state; secrets belong into `provision_secrets`."),
		"provision_secrets": schema.MapAttribute{ElementType: types.StringType, Optional: true, Sensitive: true, WriteOnly: true,
			MarkdownDescription: "Secrets of the steps by name, which `secret_env` and `secret_vars` name. They are in no plan, state or process list; what a step writes of them into a file is in the image. Values may be ephemeral. Another secret alone is no other image: see `triggers`."},
		"triggers": texts("Any words: with other ones, the image is made anew. For what Terraform does not see: a newer image of the source's family, another secret, another `holdfast` binary."),

		"family": optional("Family of the image. Changed in place.", validate.CloudName("family")),
		"labels": texts("Labels of the image, beside its own, which begin with `holdfast-`. Changed in place."),

		"zone":             schema.StringAttribute{Required: true, MarkdownDescription: "Zone of the machine that it is baked on. Like all that is said of that machine, another one is for the next image.", Validators: []validator.String{validate.Zone()}},
		"machine_type":     withDefault(defaultMachine, "Type of that machine.", validate.CloudName("machine type")),
		"network":          optional("Name or path of its network, from which its port 22 has to be reachable for Terraform. It may be left out where there is a `subnetwork`.", validate.NotEmpty()),
		"subnetwork":       optional("Name of a subnetwork of the zone's region, or its path. Default: the network's own.", validate.NotEmpty()),
		"boot_disk_type":   optional("Type of its disk. Default: `pd-balanced`, or `hyperdisk-balanced` where the machine type takes no other.", validate.CloudName("type of a disk")),
		"tags":             schema.ListAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: "Its network tags: those by which a firewall rule opens port 22.", Validators: []validator.List{listvalidator.ValueStringsAre(validate.CloudName("tag"))}},
		"external_address": schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false), MarkdownDescription: "Give it an external address, by which Terraform then logs in, and from which steps reach the internet. Default `false`."},
		"user":             withDefault(defaultUser, "User to log in as, whom the guest agent makes, with the provider's key.", validate.User()),

		"id":            computed("`PROJECT/IMAGE`."),
		"image_name":    computed("Name of the image. It follows from what is in it."),
		"image":         computed("Path of the image, as `gce.image` of `holdfast_cluster` takes it. Known once the image is there."),
		"made_from":     computed("The image that it began as: a certain one, where `source_image` is a family."),
		"binary_sha256": computed("SHA-256 of the `holdfast` binary in it. A cluster whose provider has another one installs that on its machines, whatever is in the image."),
		"timeouts":      timeouts.Attributes(ctx, timeouts.Opts{Create: true, Update: true, Delete: true}),
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An image of Compute Engine for a cluster's machines, with agent and engine and whatever else they need. It is baked on a machine that is there for it alone, over SSH; what is that machine's alone (host keys, machine id) is removed, and the machine is deleted once the image is made. " +
			"A machine of such an image starts without the internet and without steps that install packages.\n\nWhat is in an image decides its name, so a plan shows when there will be another one; machines of a cluster that takes it are then replaced one at a time, with their disks kept. " +
			"A run that was killed leaves a machine: the next apply removes it.",
		Attributes: attributes,
	}
}
