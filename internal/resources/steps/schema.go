// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package steps

import (
	"maps"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

// Attribute is provision: steps for a machine.
func Attribute(text string) schema.Attribute { return attribute(text, nil) }

// OnNodes is provision with steps that may be for some nodes of a cluster alone.
func OnNodes(text string) schema.Attribute {
	names := func(s string) schema.ListAttribute {
		return schema.ListAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: s}
	}
	return attribute(text, map[string]schema.Attribute{
		"only":   names("Nodes that the step is for. Default: all."),
		"except": names("Nodes that the step is not for."),
	})
}

func attribute(of string, more map[string]schema.Attribute) schema.Attribute {
	text := func(s string, v ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: s, Validators: v}
	}
	values := func(s string) schema.MapAttribute {
		return schema.MapAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: s}
	}
	attributes := map[string]schema.Attribute{
		"name":         schema.StringAttribute{Required: true, MarkdownDescription: "Name of the step: letters, digits, dots, dashes, underscores. Its record is kept under it: another name is another step."},
		"pause_before": text("Time to wait before it, as Go writes durations.", validate.Duration()),
		"timeout":      text("How long one attempt may take. Default `5m`.", validate.Duration()),
		"retries":      schema.Int64Attribute{Optional: true, MarkdownDescription: "How many more attempts there are after one that failed. Default `0`."},
		"backoff":      text("Time before the first of them; it doubles each time, up to a minute. Default `1s`.", validate.Duration()),
		"then":         text("`all`: whenever this step runs, all later ones do."),
		"file": schema.SingleNestedAttribute{
			Optional: true, MarkdownDescription: "A file with this content. Exactly one of `file` and `shell`.",
			Attributes: map[string]schema.Attribute{
				"path":        schema.StringAttribute{Required: true, MarkdownDescription: "Absolute path. Missing directories above it are made."},
				"content":     text("The content; or"),
				"template":    text("a template in Go's language, with the variables as `{{.name}}`."),
				"vars":        values("Variables of the template."),
				"secret_vars": values("More variables: the name of one of `provision_secrets` by that of the variable."),
				"owner":       text("Name or number of its owner. Default: root."),
				"group":       text("Name or number of its group. Default: root's."),
				"mode":        text("Permissions, octal. Default `0644`, with secrets `0600`.", validate.FileMode()),
			},
		},
		"shell": schema.SingleNestedAttribute{
			Optional: true, MarkdownDescription: "Commands for `/bin/sh -eu`. Exactly one of `file` and `shell`.",
			Attributes: map[string]schema.Attribute{
				"inline":           schema.ListAttribute{ElementType: types.StringType, Optional: true, MarkdownDescription: "Commands, one a line; or"},
				"script":           text("a whole script."),
				"env":              values("Environment of the commands, beside PATH, LANG, HOME, USER, HOLDFAST_NODE and HOLDFAST_STEP."),
				"secret_env":       values("More of it: the name of one of `provision_secrets` by that of the variable."),
				"user":             text("User that runs them. Default: root."),
				"dir":              text("Working directory. Default `/`."),
				"valid_exit_codes": schema.ListAttribute{ElementType: types.Int64Type, Optional: true, MarkdownDescription: "Exit codes that mean success. Default: 0 alone."},
			},
		},
	}
	maps.Copy(attributes, more)
	return schema.ListNestedAttribute{Optional: true, MarkdownDescription: of, NestedObject: schema.NestedAttributeObject{Attributes: attributes}}
}
