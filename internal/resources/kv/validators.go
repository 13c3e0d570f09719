// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

// bytesOf bounds the length of a text, in bytes as the engine counts it.
type bytesOf struct {
	what     string
	min, max int
	next     string // what to do where it is too long
}

func (v bytesOf) Description(context.Context) string {
	return fmt.Sprintf("%d to %d bytes", v.min, v.max)
}
func (v bytesOf) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v bytesOf) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	switch n := len(req.ConfigValue.ValueString()); {
	case n < v.min:
		resp.Diagnostics.AddAttributeError(req.Path, "The "+v.what+" is empty", fmt.Sprintf("%s has no bytes.\n\nUse %d at least.", req.Path, v.min))
	case n > v.max:
		resp.Diagnostics.AddAttributeError(req.Path, "The "+v.what+" is too long", fmt.Sprintf("%s has %d bytes, the limit is %d.\n\n%s", req.Path, n, v.max, v.next))
	}
}

// base64Value checks value_base64.
type base64Value struct{}

func (base64Value) Description(context.Context) string {
	return fmt.Sprintf("base64 of %d bytes at most", maxValue)
}
func (v base64Value) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (base64Value) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	b, err := base64.StdEncoding.DecodeString(req.ConfigValue.ValueString())
	switch {
	case err != nil:
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", fmt.Sprintf("value_base64 is not base64: %v.\n\nUse base64encode(), or value for text.", err))
	case len(b) > maxValue:
		resp.Diagnostics.AddAttributeError(req.Path, "The value is too long", fmt.Sprintf("value_base64 has %d bytes, the limit is %d.\n\nStore less under one key.", len(b), maxValue))
	}
}
