// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
)

// What says how Compute Engine is reached, where the configuration does not.
const (
	credentialsVariable = "GOOGLE_CREDENTIALS"
	endpointVariable    = "HOLDFAST_GCE_ENDPOINT"
)

type gceModel struct {
	Credentials     types.String `tfsdk:"credentials"`
	CredentialsFile types.String `tfsdk:"credentials_file"`
	Endpoint        types.String `tfsdk:"endpoint"`
}

func gceAttribute() schema.Attribute {
	keys := []path.Expression{path.MatchRoot("gce").AtName("credentials"), path.MatchRoot("gce").AtName("credentials_file")}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "How Compute Engine is reached, for clusters with `gce`. None of it is in a state, and all of it may be ephemeral. Where no credentials are given, they are those of `" + credentialsVariable + "` " +
			"(the JSON itself, or its file), then what Google's libraries find: `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, the machine's own service account.",
		Attributes: map[string]schema.Attribute{
			"credentials": schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Credentials themselves, in JSON: a service account's key, for one.",
				Validators: []validator.String{stringvalidator.ConflictsWith(keys[1])}},
			"credentials_file": schema.StringAttribute{Optional: true, MarkdownDescription: "File of the credentials; `~/` is the home directory.",
				Validators: []validator.String{stringvalidator.ConflictsWith(keys[0])}},
			"endpoint": schema.StringAttribute{Optional: true, MarkdownDescription: "Another endpoint than Google's, for an emulator. Without credentials, nobody logs in to it. Default: `" + endpointVariable + "`."},
		},
	}
}

// cloudAPI reads the attribute gce. unknown names what is not known yet.
func cloudAPI(ctx context.Context, o types.Object, ds *diag.Diagnostics) (api gce.API, unknown string) {
	if o.IsUnknown() {
		return api, "gce"
	}
	var m gceModel
	if !o.IsNull() {
		ds.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
		for name, v := range o.Attributes() {
			if v.IsUnknown() {
				unknown = "gce." + name
			}
		}
	}
	if unknown != "" || ds.HasError() {
		return api, unknown
	}
	api.Endpoint = cmp.Or(m.Endpoint.ValueString(), os.Getenv(endpointVariable))
	text, from := m.Credentials.ValueString(), "gce.credentials"
	if file := m.CredentialsFile.ValueString(); file != "" {
		text, from = readCredentials(file, ds), file
	}
	if env := os.Getenv(credentialsVariable); text == "" && env != "" {
		text, from = env, credentialsVariable
		if !strings.HasPrefix(strings.TrimSpace(env), "{") {
			text, from = fileOf(env, ds), "the file of "+credentialsVariable
		}
	}
	if text != "" && !json.Valid([]byte(text)) {
		p := diags.Problem{At: "gce.credentials", What: "Invalid credentials", Why: from + " is no JSON", Next: "Give what gcloud or the console wrote: a service account's key, for one."}
		ds.Append(p.Diagnostic())
		return api, ""
	}
	api.Credentials = []byte(text)
	return api, ""
}

// fileOf reads the file that the variable names. What the variable has is not told: it may be meant to be a secret.
func fileOf(value string, ds *diag.Diagnostics) string {
	b, err := os.ReadFile(value) //nolint:gosec // whoever runs the provider says which
	if err != nil {
		if of, ok := errors.AsType[*fs.PathError](err); ok {
			err = of.Err
		}
		ds.Append(diags.Problem{What: "The credentials cannot be read", Why: credentialsVariable + " is no JSON, and names no file that can be read: " + err.Error(),
			Next: "Give what gcloud or the console wrote, a service account's key for one, or its file."}.Diagnostic())
	}
	return string(b)
}

// readCredentials reads a file, and says where it cannot.
func readCredentials(file string, ds *diag.Diagnostics) string {
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			file = filepath.Join(home, rest)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		ds.Append(diags.Problem{At: "gce.credentials_file", What: "The credentials cannot be read", Why: err.Error(), Next: "Name the file that gcloud or the console wrote."}.Diagnostic())
	}
	return string(b)
}

// onGCE binds the provider's configuration and a cluster's place to the platform.
func onGCE(a Access, api gce.API, project, cluster string) (*gce.Platform, error) {
	return gce.Open(gce.Place{Project: project, Cluster: cluster, Access: ssh.Access(a), API: api})
}

// cloudOpener is env.Env.GCE for this configuration. Google tells which keys machines have: only a file of
// known hosts that the configuration names is asked instead.
func (p *holdfast) cloudOpener(a Access, knownHosts string, api gce.API, unknown string) func(project, cluster string) (*gce.Platform, error) {
	a.KnownHosts, a.Record = knownHosts, a.Record && knownHosts != ""
	return func(project, cluster string) (*gce.Platform, error) {
		if unknown != "" {
			return nil, fmt.Errorf("%w: %s of the provider comes from what is not there yet", env.ErrUnknown, unknown)
		}
		return p.gce(a, api, project, cluster)
	}
}
