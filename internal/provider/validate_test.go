// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/provider"
)

// TestValidate shows what a person reads about a configuration before anything is
// planned. The stories are in testdata/validate; `go test -run TestValidate -rewrite`
// writes the answers anew.
//
//	cluster [unknown=(NAME,…)]    attributes of a holdfast_cluster beside a name, a
//	                              directory and three nodes, as JSON
//	machines [unknown=(NAME,…)]   the same of one over SSH, its nodes with addresses
//	kv                            attributes of a holdfast_kv beside a directory and a key
//
// <N> in a string is N times the letter x.
func TestValidate(t *testing.T) {
	server, err := providerserver.NewProtocol6WithError(provider.New("test")())()
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(schemas.Diagnostics) > 0 {
		t.Fatalf("the schemas: %v", schemas.Diagnostics)
	}
	datadriven.Walk(t, "testdata/validate", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var attributes map[string]any
			switch d.Cmd {
			case "cluster":
				attributes = map[string]any{"name": "orders", "local": map[string]any{"directory": "/srv/orders"}, "nodes": map[string]any{"a": struct{}{}, "b": struct{}{}, "c": struct{}{}}}
			case "machines":
				attributes = map[string]any{"name": "orders", "ssh": map[string]any{"user": "ops"}, "nodes": map[string]any{
					"a": map[string]any{"address": "10.0.0.1"}, "b": map[string]any{"address": "10.0.0.2"}, "c": map[string]any{"address": "10.0.0.3"}}}
			case "cloud":
				attributes = map[string]any{"name": "orders", "gce": map[string]any{"project": "acme-prod", "network": "default", "machine_type": "n2-standard-4"}, "nodes": map[string]any{
					"a": map[string]any{"zone": "us-east4-a"}, "b": map[string]any{"zone": "us-west2-b"}, "c": map[string]any{"zone": "us-central1-c"}}}
			case "kv":
				attributes = map[string]any{"local": map[string]any{"directory": "/srv/orders"}, "key": "k"}
			default:
				d.Fatalf(t, "%s is not known", d.Cmd)
			}
			var own map[string]any
			if err := json.Unmarshal(lengthen(d.Input), &own); err != nil {
				d.Fatalf(t, "%v", err)
			}
			maps.Copy(attributes, own)
			name := "holdfast_" + strings.NewReplacer("machines", "cluster", "cloud", "cluster").Replace(d.Cmd)
			config := encode(t, schemas.ResourceSchemas[name].ValueType(), attributes, d)
			resp, err := server.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{TypeName: name, Config: config,
				ClientCapabilities: &tfprotov6.ValidateResourceConfigClientCapabilities{WriteOnlyAttributesAllowed: true}})
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			return show(resp.Diagnostics)
		})
	})
}

// lengthen writes each <N> out.
func lengthen(input string) []byte {
	for {
		before, rest, ok := strings.Cut(input, "<")
		number, after, closed := strings.Cut(rest, ">")
		var n int
		if _, err := fmt.Sscan(number, &n); !ok || !closed || err != nil {
			return []byte(input)
		}
		input = before + strings.Repeat("x", n) + after
	}
}

// encode makes a configuration of attributes; those that d names are unknown.
func encode(t *testing.T, kind tftypes.Type, attributes map[string]any, d *datadriven.TestData) *tfprotov6.DynamicValue {
	t.Helper()
	b, err := json.Marshal(attributes)
	if err != nil {
		t.Fatal(err)
	}
	v, err := (&tfprotov6.DynamicValue{JSON: b}).Unmarshal(kind)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	var values map[string]tftypes.Value
	if err := v.As(&values); err != nil {
		t.Fatal(err)
	}
	for _, arg := range d.CmdArgs {
		for _, name := range arg.Vals {
			values[name] = tftypes.NewValue(values[name].Type(), tftypes.UnknownValue)
		}
	}
	config, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, values))
	if err != nil {
		t.Fatal(err)
	}
	return &config
}

func show(all []*tfprotov6.Diagnostic) string {
	if len(all) == 0 {
		return "ok\n"
	}
	var said []string // sorted: maps are validated in any order
	for _, d := range all {
		var b strings.Builder
		at := ""
		if d.Attribute != nil {
			at = " at " + place(d.Attribute)
		}
		fmt.Fprintf(&b, "%s%s: %s\n", strings.ToLower(d.Severity.String()), at, d.Summary)
		for line := range strings.Lines(d.Detail) {
			if line = strings.TrimSpace(line); line != "" {
				b.WriteString("  " + line + "\n")
			}
		}
		said = append(said, b.String())
	}
	slices.Sort(said)
	return strings.Join(said, "")
}

// place is a path as a person writes it.
func place(p *tftypes.AttributePath) string {
	var b strings.Builder
	for _, step := range p.Steps() {
		switch step := step.(type) {
		case tftypes.AttributeName:
			b.WriteString("." + string(step))
		case tftypes.ElementKeyString:
			fmt.Fprintf(&b, "[%q]", string(step))
		case tftypes.ElementKeyInt:
			fmt.Fprintf(&b, "[%d]", int64(step))
		}
	}
	return strings.TrimPrefix(b.String(), ".")
}
