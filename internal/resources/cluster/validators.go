// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

var (
	nameRE  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	lowerRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// clusterName and nodeName are the rules of a DNS label. Nodes are lower case,
// so that no two of them differ by case alone.
func clusterName() validate.Text { return name("cluster", nameRE, "letters, digits and dashes") }
func nodeName() validate.Text    { return name("node", lowerRE, "lower-case letters, digits and dashes") }

func name(what string, re *regexp.Regexp, letters string) validate.Text {
	rule := fmt.Sprintf("Use %s, 63 at most, with a letter or digit at both ends.", letters)
	return validate.Text{Rule: rule, Check: func(value string) *diags.Problem {
		if re.MatchString(value) {
			return nil
		}
		return &diags.Problem{What: "Invalid name of a " + what, Why: "this is not a DNS label", Next: rule}
	}}
}

func absolutePath() validate.Text {
	const rule = "Write the path from / on; abspath(\".holdfast\") makes a relative one absolute."
	return validate.Text{Rule: rule, Check: func(value string) *diags.Problem {
		why := ""
		switch {
		case !filepath.IsAbs(value):
			why = "the path is not absolute, and Terraform may run elsewhere the next time"
		case filepath.Clean(value) != value:
			why = "the path is not in its shortest form, " + filepath.Clean(value)
		case value == "/":
			why = "this is the root of the machine"
		default:
			return nil
		}
		return &diags.Problem{What: "Invalid directory", Why: why, Next: rule}
	}}
}

func oneOf(choices ...string) validate.Text {
	rule := "Use one of " + strings.Join(choices, ", ") + "."
	return validate.Text{Rule: rule, Check: func(value string) *diags.Problem {
		if slices.Contains(choices, value) {
			return nil
		}
		return &diags.Problem{What: "Unknown value", Why: "this is not known", Next: rule}
	}}
}

func address() validate.Text {
	return validate.Is("address", "Write a name or an IP address, without a port: 10.0.0.1.", env.CheckAddress)
}

func tlsHost() validate.Text {
	return validate.Is("host", "Write what clients call the node: db1.example.com, 10.0.0.1.", agentapi.CheckHost)
}

func clusterAddress() validate.Text {
	return validate.Is("address", "Write the IP address that the other machines reach it by: 10.0.0.1.", env.CheckClusterAddress)
}

func hostKey() validate.Text {
	return validate.Is("host key", "ssh-keyscan -t ed25519 ADDRESS prints a line of known_hosts; compare it with what the machine's console says.", func(line string) error {
		_, err := env.HostKey(line)
		return err
	})
}

func word() validate.Text {
	const rule = "Use words without spaces and without , : =."
	return validate.Text{Rule: rule, Check: func(value string) *diags.Problem {
		if value != "" && !strings.ContainsAny(value, ",:= \t\n") {
			return nil
		}
		return &diags.Problem{What: "Invalid store attribute", Why: "this is not one word", Next: rule}
	}}
}

// sideDiskSize names the field and both values.
type sideDiskSize struct{}

func (sideDiskSize) Description(context.Context) string {
	return fmt.Sprintf("%d GiB at least", minSideGB)
}
func (v sideDiskSize) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (sideDiskSize) ValidateInt64(_ context.Context, req validator.Int64Request, resp *validator.Int64Response) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() || req.ConfigValue.ValueInt64() >= minSideGB {
		return
	}
	resp.Diagnostics.AddAttributeError(req.Path, "The side disk is too small",
		fmt.Sprintf("%s = %d: a side disk has %d GiB at least, so that a log fits on it for as long as its own disk may hang.\n\nSet it to %d or more, or leave it out.",
			req.Path, req.ConfigValue.ValueInt64(), minSideGB, minSideGB))
}
