// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

// bufferingAttribute is log.buffering. Left out, the nodes keep engine.log alone.
func bufferingAttribute() schema.Attribute {
	text := func(value, says string, v validate.Text) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString(value),
			MarkdownDescription: fmt.Sprintf("%s Default `%s`.", says, value), Validators: []validator.String{v}}
	}
	d := agentapi.DefaultBuffering
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "CockroachDB's buffering: lines go to files in `logs/` of the node's directory, which are put aside and removed by size; " +
			"`engine.log` keeps warnings and errors. Left out, everything goes to `engine.log`. Either way no line waits for a disk, and a change takes effect without a restart. " +
			"A disk that takes no write for `HOLDFAST_LOG_MAX_SYNC_DURATION` (`20s`; `40s` with failover on) ends the engine.",
		Attributes: map[string]schema.Attribute{
			"max_staleness":      text(d.MaxStaleness, "How old a line may become before it is written, as Go writes durations.", validate.Duration()),
			"flush_trigger_size": text(d.FlushTriggerSize, "How many bytes are written at once: `256KiB`, `1MB`.", size()),
			"max_buffer_size":    text(d.MaxBufferSize, "How many bytes are kept while the disk hangs; beyond that the oldest lines are dropped and counted.", size()),
		},
		Validators: []validator.Object{bufferSizes{}},
	}
}

func size() validate.Text {
	const rule = "Write a number and a unit: 256KiB, 50MiB, 10MB."
	return validate.Text{Rule: rule, Check: func(value string) *diags.Problem {
		n, err := agentapi.ParseSize(value)
		switch {
		case err != nil:
			return &diags.Problem{What: "Invalid size", Why: "this is not a size", Next: rule}
		case n == 0:
			return &diags.Problem{What: "Invalid size", Why: "it is not above zero", Next: rule}
		}
		return nil
	}}
}

// bufferSizes refuses a buffer that is smaller than what is written at once;
// defaults count too.
type bufferSizes struct{}

func (bufferSizes) Description(context.Context) string {
	return "max_buffer_size is not below flush_trigger_size"
}
func (v bufferSizes) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (bufferSizes) ValidateObject(_ context.Context, req validator.ObjectRequest, resp *validator.ObjectResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	value := func(name, fallback string) (string, int64) {
		v, ok := req.ConfigValue.Attributes()[name].(types.String)
		switch {
		case !ok || v.IsUnknown():
			return "", -1
		case !v.IsNull():
			fallback = v.ValueString()
		}
		n, err := agentapi.ParseSize(fallback)
		if err != nil {
			return "", -1 // its own validator says so
		}
		return fallback, n
	}
	trigger, t := value("flush_trigger_size", agentapi.DefaultBuffering.FlushTriggerSize)
	buffer, b := value("max_buffer_size", agentapi.DefaultBuffering.MaxBufferSize)
	if t < 0 || b <= 0 || t <= b {
		return
	}
	resp.Diagnostics.AddAttributeError(req.Path, "The buffer is too small",
		fmt.Sprintf("%s.max_buffer_size = %q is below flush_trigger_size = %q: the buffer would be full before it is written.\n\nMake it larger.", req.Path, buffer, trigger))
}
