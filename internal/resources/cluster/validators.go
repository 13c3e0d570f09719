// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// text is a validator of strings over a pure check. Unknown and null pass.
type text struct {
	rule  string
	check func(value string) *diags.Problem
}

func (v text) Description(context.Context) string         { return v.rule }
func (v text) MarkdownDescription(context.Context) string { return v.rule }

func (v text) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if p := v.check(req.ConfigValue.ValueString()); p != nil {
		resp.Diagnostics.AddAttributeError(req.Path, p.What, fmt.Sprintf("%s = %q: %s", req.Path, req.ConfigValue.ValueString(), p.Text()))
	}
}

var (
	nameRE  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	lowerRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// clusterName and nodeName are the rules of a DNS label. Nodes are lower case,
// so that no two of them differ by case alone.
func clusterName() text { return name("cluster", nameRE, "letters, digits and dashes") }
func nodeName() text    { return name("node", lowerRE, "lower-case letters, digits and dashes") }

func name(what string, re *regexp.Regexp, letters string) text {
	rule := fmt.Sprintf("Use %s, 63 at most, with a letter or digit at both ends.", letters)
	return text{rule, func(value string) *diags.Problem {
		if re.MatchString(value) {
			return nil
		}
		return &diags.Problem{What: "Invalid name of a " + what, Why: "this is not a DNS label", Next: rule}
	}}
}

func absolutePath() text {
	const rule = "Write the path from / on; abspath(\".holdfast\") makes a relative one absolute."
	return text{rule, func(value string) *diags.Problem {
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

func oneOf(choices ...string) text {
	rule := "Use one of " + strings.Join(choices, ", ") + "."
	return text{rule, func(value string) *diags.Problem {
		if slices.Contains(choices, value) {
			return nil
		}
		return &diags.Problem{What: "Unknown value", Why: "this is not known", Next: rule}
	}}
}

func duration() text {
	const rule = "Write a number and a unit, as Go does: 100ms, 60s, 5m."
	return text{rule, func(value string) *diags.Problem {
		d, err := time.ParseDuration(value)
		switch {
		case err != nil:
			return &diags.Problem{What: "Invalid duration", Why: "this is not a duration", Next: rule}
		case d <= 0:
			return &diags.Problem{What: "Invalid duration", Why: "it is not above zero", Next: rule}
		}
		return nil
	}}
}

// valid is a validator over a check that says what a value is instead.
func valid(what, rule string, check func(string) error) text {
	return text{rule, func(value string) *diags.Problem {
		if err := check(value); err != nil {
			return &diags.Problem{What: "Invalid " + what, Why: "this is " + err.Error(), Next: rule}
		}
		return nil
	}}
}

func sshUser() text {
	return valid("user", "Write the name of a user of the machine: ops.", env.CheckUser)
}

func address() text {
	return valid("address", "Write a name or an IP address, without a port: 10.0.0.1.", env.CheckAddress)
}

func tlsHost() text {
	return valid("host", "Write what clients call the node: db1.example.com, 10.0.0.1.", agentapi.CheckHost)
}

func clusterAddress() text {
	return valid("address", "Write the IP address that the other machines reach it by: 10.0.0.1.", env.CheckClusterAddress)
}

func hostKey() text {
	return valid("host key", "ssh-keyscan -t ed25519 ADDRESS prints a line of known_hosts; compare it with what the machine's console says.", func(line string) error {
		_, err := env.HostKey(line)
		return err
	})
}

func fileMode() text {
	const rule = "Write an octal number from 0001 to 0777."
	return valid("mode", rule, func(value string) error {
		if n, err := strconv.ParseUint(value, 8, 32); err != nil || n == 0 || n > 0o777 {
			return errors.New("not a set of permissions")
		}
		return nil
	})
}

func notEmpty() text {
	return valid("value", "Write what it is, or leave the attribute out.", func(value string) error {
		if strings.TrimSpace(value) == "" {
			return errors.New("empty")
		}
		return nil
	})
}

func word() text {
	const rule = "Use words without spaces and without , : =."
	return text{rule, func(value string) *diags.Problem {
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
