// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/defaults"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// object is an optional nested object whose attributes all have defaults: left
// out, it is the object of those defaults.
func object(text string, attributes map[string]schema.Attribute) schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Optional: true, Computed: true,
		MarkdownDescription: text,
		Attributes:          attributes,
		Default:             objectdefault.StaticValue(objectOfDefaults(attributes)),
	}
}

// objectOfDefaults takes each attribute's own default; one without is null.
func objectOfDefaults(attributes map[string]schema.Attribute) types.Object {
	ctx := context.Background()
	kinds, values := map[string]attr.Type{}, map[string]attr.Value{}
	for name, a := range attributes {
		kinds[name] = a.GetType()
		switch a := a.(type) {
		case schema.StringAttribute:
			if a.Default == nil {
				values[name] = types.StringNull()
				continue
			}
			var resp defaults.StringResponse
			a.Default.DefaultString(ctx, defaults.StringRequest{}, &resp)
			values[name] = resp.PlanValue
		case schema.BoolAttribute:
			var resp defaults.BoolResponse
			a.Default.DefaultBool(ctx, defaults.BoolRequest{}, &resp)
			values[name] = resp.PlanValue
		case schema.Int64Attribute:
			if a.Default == nil {
				values[name] = types.Int64Null()
				continue
			}
			var resp defaults.Int64Response
			a.Default.DefaultInt64(ctx, defaults.Int64Request{}, &resp)
			values[name] = resp.PlanValue
		case schema.SingleNestedAttribute:
			o := objectOfDefaults(a.Attributes)
			if a.Default == nil {
				o = types.ObjectNull(o.AttributeTypes(ctx))
			}
			values[name] = o
		case schema.ListAttribute:
			values[name] = types.ListNull(a.ElementType)
		default:
			panic(fmt.Sprintf("cluster: no default is known for %s, a %T", name, a)) // a test makes the schema
		}
	}
	return types.ObjectValueMust(kinds, values)
}

// oneStore is the list of stores where none is configured.
func oneStore() types.List {
	one := objectOfDefaults(storeAttributes())
	return types.ListValueMust(one.Type(context.Background()), []attr.Value{one})
}

func boolAttribute(value bool, text string) schema.BoolAttribute {
	return schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(value),
		MarkdownDescription: fmt.Sprintf("%s Default `%t`.", text, value)}
}

func portAttribute(value int64, text string) schema.Int64Attribute {
	return schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(value),
		MarkdownDescription: fmt.Sprintf("%s Default `%d`.", text, value),
		Validators:          []validator.Int64{int64validator.Between(1, 65535)}}
}
