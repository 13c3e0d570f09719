// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// TestCloudAPI: where credentials come from, and that what they are is in no message.
func TestCloudAPI(t *testing.T) {
	const key = `{"type": "service_account"}`
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	object := func(credentials, credentialsFile, endpoint attr.Value) types.Object {
		return types.ObjectValueMust(
			map[string]attr.Type{"credentials": types.StringType, "credentials_file": types.StringType, "endpoint": types.StringType},
			map[string]attr.Value{"credentials": credentials, "credentials_file": credentialsFile, "endpoint": endpoint})
	}
	none := types.StringNull()
	for name, tc := range map[string]struct {
		object            types.Object
		variable          string // GOOGLE_CREDENTIALS
		endpoint          string // HOLDFAST_GCE_ENDPOINT
		want, at, unknown string
		says              string // the error
	}{
		"Google's libraries find them": {object: types.ObjectNull(nil)},
		"given":                        {object: object(types.StringValue(key), none, none), variable: "{}", want: key},
		"a file":                       {object: object(none, types.StringValue(file), none), want: key},
		"the variable":                 {object: types.ObjectNull(nil), variable: " " + key, want: " " + key},
		"the variable's file":          {object: types.ObjectNull(nil), variable: file, want: key},
		"an emulator":                  {object: types.ObjectNull(nil), endpoint: "http://127.0.0.1:1", at: "http://127.0.0.1:1"},
		"another one":                  {object: object(none, none, types.StringValue("http://127.0.0.1:2")), endpoint: "http://127.0.0.1:1", at: "http://127.0.0.1:2"},
		"not known yet":                {object: object(types.StringUnknown(), none, none), unknown: "gce.credentials"},
		"none of it is known":          {object: types.ObjectUnknown(nil), unknown: "gce"},
		"no JSON":                      {object: object(types.StringValue("secret-word"), none, none), says: "gce.credentials is no JSON"},
		"no file":                      {object: object(none, types.StringValue("/nowhere/key.json"), none), says: "open /nowhere/key.json: no such file or directory"},
		"the variable is neither":      {object: types.ObjectNull(nil), variable: "secret-word", says: "GOOGLE_CREDENTIALS is no JSON, and names no file that can be read: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(credentialsVariable, tc.variable)
			t.Setenv(endpointVariable, tc.endpoint)
			var ds diag.Diagnostics
			api, unknown := cloudAPI(t.Context(), tc.object, &ds)
			if unknown != tc.unknown || api.Endpoint != tc.at {
				t.Errorf("unknown %q, endpoint %q", unknown, api.Endpoint)
			}
			if ds.HasError() != (tc.says != "") {
				t.Fatalf("%v", ds)
			}
			if tc.says == "" && string(api.Credentials) != tc.want {
				t.Errorf("credentials %q", api.Credentials)
			}
			for _, d := range ds {
				if !strings.Contains(d.Detail(), tc.says) {
					t.Errorf("%s: %s", d.Summary(), d.Detail())
				}
				if strings.Contains(d.Summary()+d.Detail(), "secret-word") {
					t.Error("it tells the credentials")
				}
			}
		})
	}
}
