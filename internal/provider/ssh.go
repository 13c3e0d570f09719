// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// Access is how machines are logged in to. It is the provider's alone: no resource has
// it, and no state.
type Access struct {
	Key        sshhost.Key
	KnownHosts string
	Record     bool
	Jump       []sshhost.Endpoint
	// BootTimeout is for how long a machine that does not answer is tried again;
	// AttemptTimeout is for one attempt to log in. 0 is sshhost's default.
	BootTimeout, AttemptTimeout time.Duration
}

// knownHosts is OpenSSH's own file, where it is there.
const knownHosts = ".ssh/known_hosts"

type sshModel struct {
	PrivateKey     types.String `tfsdk:"private_key"`
	PrivateKeyFile types.String `tfsdk:"private_key_file"`
	Passphrase     types.String `tfsdk:"private_key_passphrase"`
	AgentSocket    types.String `tfsdk:"agent_socket"`
	KnownHostsFile types.String `tfsdk:"known_hosts_file"`
	Record         types.Bool   `tfsdk:"record_host_keys"`
	Jump           types.List   `tfsdk:"jump"`
	BootTimeout    types.String `tfsdk:"boot_timeout"`
}

type jumpModel struct {
	User           string   `tfsdk:"user"`
	Address        string   `tfsdk:"address"`
	Port           *int64   `tfsdk:"port"`
	HostKeys       []string `tfsdk:"host_keys"`
	PrivateKeyFile *string  `tfsdk:"private_key_file"`
}

func sshAttribute() schema.Attribute {
	keys := []path.Expression{path.MatchRoot("ssh").AtName("private_key"), path.MatchRoot("ssh").AtName("private_key_file"), path.MatchRoot("ssh").AtName("agent_socket")}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "How machines of clusters with `ssh` are logged in to. None of it is in a state, and all of it may be ephemeral. Where no key is given, it is " +
			"`HOLDFAST_SSH_PRIVATE_KEY` (the key itself), then the ssh-agent of `SSH_AUTH_SOCK`.",
		Attributes: map[string]schema.Attribute{
			"private_key": schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "The private key itself, in PEM form.",
				Validators: []validator.String{stringvalidator.ConflictsWith(keys[1], keys[2])}},
			"private_key_file": schema.StringAttribute{Optional: true, MarkdownDescription: "File of the private key; `~/` is the home directory.",
				Validators: []validator.String{stringvalidator.ConflictsWith(keys[0], keys[2])}},
			"private_key_passphrase": schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Passphrase that opens the private key."},
			"agent_socket": schema.StringAttribute{Optional: true, MarkdownDescription: "Socket of an ssh-agent, whose keys are all tried.",
				Validators: []validator.String{stringvalidator.ConflictsWith(keys[0], keys[1])}},
			"known_hosts_file": schema.StringAttribute{Optional: true,
				MarkdownDescription: "File that says which host keys machines have, for those without `host_keys` of their own. Default: `~/.ssh/known_hosts`, where that is there."},
			"record_host_keys": schema.BoolAttribute{Optional: true,
				MarkdownDescription: "Add the key of a machine that the file does not know to it. Whoever answers at first contact is then trusted, and pinned from then on. A machine that shows another key than the pinned one is refused all the same. Default `false`.",
			},
			"jump": schema.ListNestedAttribute{
				Optional: true, MarkdownDescription: "Machines to go through, the first one first.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"user":    schema.StringAttribute{Required: true, MarkdownDescription: "User to log in as."},
					"address": schema.StringAttribute{Required: true, MarkdownDescription: "Name or IP address."},
					"port":    schema.Int64Attribute{Optional: true, MarkdownDescription: "Port. Default `22`.", Validators: []validator.Int64{int64validator.Between(1, 65535)}},
					"host_keys": schema.ListAttribute{ElementType: types.StringType, Optional: true, Validators: []validator.List{listvalidator.SizeAtLeast(1)},
						MarkdownDescription: "Its host keys. Default: what `known_hosts_file` says."},
					"private_key_file": schema.StringAttribute{Optional: true, MarkdownDescription: "File of the private key for it. Default: the key of all machines."},
				}},
			},
			"boot_timeout": schema.StringAttribute{Optional: true,
				MarkdownDescription: "How long an apply tries a machine that does not answer, as it may be starting; as Go writes durations. Default `2m`.",
				Validators:          []validator.String{positiveDuration{}}},
		},
	}
}

// access reads the attribute ssh. unknown names what is not known yet.
func access(ctx context.Context, o types.Object, ds *diag.Diagnostics) (a Access, unknown string) {
	if o.IsUnknown() {
		return a, "ssh"
	}
	var m sshModel
	if !o.IsNull() {
		ds.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
		for name, v := range o.Attributes() {
			if raw, err := v.ToTerraformValue(ctx); err == nil && !raw.IsFullyKnown() {
				unknown = "ssh." + name
			}
		}
	}
	if unknown != "" || ds.HasError() {
		return a, unknown
	}
	a = Access{
		Key: sshhost.Key{PEM: []byte(m.PrivateKey.ValueString()), File: m.PrivateKeyFile.ValueString(),
			AgentSocket: m.AgentSocket.ValueString(), Passphrase: m.Passphrase.ValueString()},
		KnownHosts: m.KnownHostsFile.ValueString(), Record: m.Record.ValueBool(),
	}
	if a.KnownHosts == "" {
		a.KnownHosts = ownKnownHosts(a.Record)
	}
	if text := m.BootTimeout.ValueString(); text != "" {
		a.BootTimeout, _ = time.ParseDuration(text) // its validator took it
	}
	var jump []jumpModel
	if !m.Jump.IsNull() {
		ds.Append(m.Jump.ElementsAs(ctx, &jump, false)...)
	}
	for _, j := range jump {
		e := sshhost.Endpoint{User: j.User, Address: j.Address, Key: a.Key, HostKey: sshhost.HostKey{Given: j.HostKeys}}
		if j.Port != nil {
			e.Port = int(*j.Port)
		}
		if j.PrivateKeyFile != nil {
			e.Key = sshhost.Key{File: *j.PrivateKeyFile, Passphrase: a.Key.Passphrase}
		}
		if len(j.HostKeys) == 0 {
			e.HostKey = sshhost.HostKey{File: a.KnownHosts, Record: a.Record}
		}
		a.Jump = append(a.Jump, e)
	}
	return a, ""
}

// ownKnownHosts is the user's own file, empty where there is none and none is to be made.
func ownKnownHosts(record bool) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	file := filepath.Join(home, knownHosts)
	if _, err := os.Stat(file); err != nil && !record {
		return ""
	}
	return file
}

// opener is env.Env.SSH for this configuration.
func (p *holdfast) opener(a Access, unknown string) func(map[string]env.Machine) (platform.Platform, error) {
	return func(machines map[string]env.Machine) (platform.Platform, error) {
		if unknown != "" {
			return nil, fmt.Errorf("%w: %s of the provider comes from what is not there yet", env.ErrUnknown, unknown)
		}
		return p.ssh(a, machines)
	}
}

// positiveDuration is a duration above zero.
type positiveDuration struct{}

func (positiveDuration) Description(context.Context) string {
	return "a duration above zero, as Go writes it"
}
func (v positiveDuration) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (positiveDuration) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if d, err := time.ParseDuration(req.ConfigValue.ValueString()); err != nil || d <= 0 {
		p := diags.Problem{What: "Invalid duration", Why: fmt.Sprintf("%s = %q: this is not a duration above zero", req.Path, req.ConfigValue.ValueString()), Next: "Write a number and a unit, as Go does: 30s, 5m."}
		resp.Diagnostics.AddAttributeError(req.Path, p.What, p.Text())
	}
}
