// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package validate has the validators of attributes that several resources have.
package validate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// Text is a validator of strings over a pure check. Unknown and null pass.
type Text struct {
	Rule  string
	Check func(value string) *diags.Problem
}

// Description implements validator.Describer.
func (v Text) Description(context.Context) string { return v.Rule }

// MarkdownDescription implements validator.Describer.
func (v Text) MarkdownDescription(context.Context) string { return v.Rule }

// ValidateString implements validator.String.
func (v Text) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if p := v.Check(req.ConfigValue.ValueString()); p != nil {
		resp.Diagnostics.AddAttributeError(req.Path, p.What, fmt.Sprintf("%s = %q: %s", req.Path, req.ConfigValue.ValueString(), p.Text()))
	}
}

// Is is a validator over a check that says what a value is instead.
func Is(what, rule string, check func(string) error) Text {
	return Text{rule, func(value string) *diags.Problem {
		if err := check(value); err != nil {
			return &diags.Problem{What: "Invalid " + what, Why: "this is " + err.Error(), Next: rule}
		}
		return nil
	}}
}

// Duration takes what Go writes, above zero.
func Duration() Text {
	const rule = "Write a number and a unit, as Go does: 100ms, 60s, 5m."
	return Text{rule, func(value string) *diags.Problem {
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

var (
	errMode  = errors.New("not a set of permissions")
	errEmpty = errors.New("empty")
	errZone  = errors.New("not the name of a zone")
	errCloud = errors.New("not a name on Compute Engine: lower-case letters, digits and hyphens, a letter first, 63 at most")
)

// FileMode takes permissions, in octal.
func FileMode() Text {
	return Is("mode", "Write an octal number from 0001 to 0777.", func(value string) error {
		if n, err := strconv.ParseUint(value, 8, 32); err != nil || n == 0 || n > 0o777 {
			return errMode
		}
		return nil
	})
}

// NotEmpty takes everything that is more than blanks.
func NotEmpty() Text {
	return Is("value", "Write what it is, or leave the attribute out.", func(value string) error {
		if strings.TrimSpace(value) == "" {
			return errEmpty
		}
		return nil
	})
}

// User takes the name of a user whom one logs in as.
func User() Text {
	return Is("user", "Write the name of a user of the machine: ops.", env.CheckUser)
}

// Project takes the id of a project of Google Cloud.
func Project() Text {
	return Is("project", "Write the id of a project: acme-prod.", env.CheckProject)
}

var (
	zoneRE  = regexp.MustCompile(`^[a-z]+-[a-z]+[0-9]+-[a-z]$`)
	cloudRE = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// Zone takes the name of a zone of Compute Engine.
func Zone() Text {
	return Is("zone", "Write the name of a zone, us-east4-a: gcloud compute zones list prints them.", func(value string) error {
		if !zoneRE.MatchString(value) {
			return errZone
		}
		return nil
	})
}

// CloudName takes a name of something on Compute Engine. of is what has it.
func CloudName(of string) Text { return Is(of, "Write it as gcloud prints it.", CheckCloudName) }

// CheckCloudName says what a name is instead of one on Compute Engine.
func CheckCloudName(value string) error {
	if !cloudRE.MatchString(value) {
		return errCloud
	}
	return nil
}
