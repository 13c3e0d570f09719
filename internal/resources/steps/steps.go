// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package steps are provisioning steps as resources have them: the attribute, its Go values,
// and what is wrong with them before anything is asked.
package steps

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/provision"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
)

// The provisioning steps, as Go values.
type (
	// OnNode is a step of a cluster, which may be for some of its nodes.
	OnNode struct {
		Object

		Only   []string `tfsdk:"only"`
		Except []string `tfsdk:"except"`
	}
	// Object is a step.
	Object struct {
		Name        string  `tfsdk:"name"`
		PauseBefore *string `tfsdk:"pause_before"`
		Timeout     *string `tfsdk:"timeout"`
		Retries     *int64  `tfsdk:"retries"`
		Backoff     *string `tfsdk:"backoff"`
		Then        *string `tfsdk:"then"`
		File        *File   `tfsdk:"file"`
		Shell       *Shell  `tfsdk:"shell"`
	}
	// File is a step that writes a file.
	File struct {
		Path       string            `tfsdk:"path"`
		Content    *string           `tfsdk:"content"`
		Template   *string           `tfsdk:"template"`
		Vars       map[string]string `tfsdk:"vars"`
		SecretVars map[string]string `tfsdk:"secret_vars"`
		Owner      *string           `tfsdk:"owner"`
		Group      *string           `tfsdk:"group"`
		Mode       *string           `tfsdk:"mode"`
	}
	// Shell is a step that runs commands.
	Shell struct {
		Inline         []string          `tfsdk:"inline"`
		Script         *string           `tfsdk:"script"`
		Env            map[string]string `tfsdk:"env"`
		SecretEnv      map[string]string `tfsdk:"secret_env"`
		User           *string           `tfsdk:"user"`
		Dir            *string           `tfsdk:"dir"`
		ValidExitCodes []int64           `tfsdk:"valid_exit_codes"`
	}
)

// Spec is the step as the agent takes it.
func (o Object) Spec() agentapi.Step {
	s := agentapi.Step{
		Name: o.Name, PauseBefore: deref(o.PauseBefore), Timeout: deref(o.Timeout),
		Retries: int(deref(o.Retries)), Backoff: deref(o.Backoff), Then: deref(o.Then),
	}
	if f := o.File; f != nil {
		s.File = &agentapi.FileStep{Path: f.Path, Content: deref(f.Content), Template: deref(f.Template),
			Vars: f.Vars, SecretVars: f.SecretVars, Owner: deref(f.Owner), Group: deref(f.Group), Mode: deref(f.Mode)}
	}
	if sh := o.Shell; sh != nil {
		s.Shell = &agentapi.ShellStep{Inline: sh.Inline, Script: deref(sh.Script), Env: sh.Env, SecretEnv: sh.SecretEnv, User: deref(sh.User), Dir: deref(sh.Dir)}
		for _, c := range sh.ValidExitCodes {
			s.Shell.ValidExitCodes = append(s.Shell.ValidExitCodes, int(c))
		}
	}
	return s
}

// Spec is the step as the agent takes it.
func (o OnNode) Spec() agentapi.Step {
	s := o.Object.Spec()
	s.Only, s.Except = o.Only, o.Except
	return s
}

// Of is the opposite of OnNode's Spec.
func Of(s agentapi.Step) OnNode {
	o := Object{
		Name: s.Name, PauseBefore: own(s.PauseBefore, ""), Timeout: own(s.Timeout, ""),
		Retries: own(int64(s.Retries), 0), Backoff: own(s.Backoff, ""), Then: own(s.Then, ""),
	}
	if f := s.File; f != nil {
		o.File = &File{Path: f.Path, Content: own(f.Content, ""), Template: own(f.Template, ""),
			Vars: f.Vars, SecretVars: f.SecretVars, Owner: own(f.Owner, ""), Group: own(f.Group, ""), Mode: own(f.Mode, "")}
	}
	if sh := s.Shell; sh != nil {
		o.Shell = &Shell{Inline: sh.Inline, Script: own(sh.Script, ""), Env: sh.Env, SecretEnv: sh.SecretEnv, User: own(sh.User, ""), Dir: own(sh.Dir, "")}
		for _, c := range sh.ValidExitCodes {
			o.Shell.ValidExitCodes = append(o.Shell.ValidExitCodes, int64(c))
		}
	}
	return OnNode{Object: o, Only: s.Only, Except: s.Except}
}

// secretNames are the secrets that a step names, with the attribute that does.
func secretNames(s agentapi.Step) map[string]string {
	named := map[string]string{}
	if s.File != nil {
		for name, of := range s.File.SecretVars {
			named["file.secret_vars."+name] = of
		}
	}
	if s.Shell != nil {
		for name, of := range s.Shell.SecretEnv {
			named["shell.secret_env."+name] = of
		}
	}
	return named
}

// maxSteps bounds all steps of a spec, as they are sent: a half of what an agent reads. The rest
// is for secrets and what else is in it.
const maxSteps = agentapi.MaxBody / 2

// Problems are what is wrong with steps. nodes are those of the cluster, secrets
// the names of those that are given; each nil where that is not known, or there is none.
func Problems(steps []agentapi.Step, nodes, secrets []string) []diags.Problem {
	var all []diags.Problem
	var readable []agentapi.Step
	for i, s := range steps {
		at := fmt.Sprintf("provision.%d.", i)
		for list, names := range map[string][]string{"only": s.Only, "except": s.Except} {
			for j, name := range names {
				if nodes != nil && !slices.Contains(nodes, name) {
					all = append(all, diags.Problem{At: fmt.Sprintf("%s%s.%d", at, list, j), What: "No such node",
						Why:  fmt.Sprintf("the step %s: %s names %q, which is none of %s", s.Name, list, name, strings.Join(nodes, ", ")),
						Next: "Name nodes of this cluster."})
				}
			}
		}
		named := secretNames(s)
		for _, field := range slices.Sorted(maps.Keys(named)) {
			if secrets != nil && !slices.Contains(secrets, named[field]) {
				all = append(all, diags.Problem{At: at + field, What: "No such secret",
					Why:  fmt.Sprintf("the step %s: %s = %q, and provision_secrets has nothing of that name", s.Name, field, named[field]),
					Next: "Give it in provision_secrets, which is in no plan and no state."})
			}
		}
		readable = append(readable, legible(s))
	}
	if b, err := json.Marshal(steps); err == nil && len(b) > maxSteps {
		all = append(all, diags.Problem{At: "provision", What: "Too much to send", Why: fmt.Sprintf("the steps have %d bytes in all, %d are sent at most", len(b), maxSteps),
			Next: "Fetch large files in a shell step."})
	}
	checked, err := provision.FromSpec(readable, nil)
	if err == nil {
		err = provision.Validate(checked)
	}
	refused, ok := errors.AsType[*agentapi.Error](err)
	if !ok {
		return all
	}
	at := refused.Field
	for i, s := range slices.Backward(steps) { // of two of one name, it is about the second
		if rest, ok := strings.CutPrefix(at, "provision."+s.Name); ok && s.Name != "" && (rest == "" || rest[0] == '.') {
			at = fmt.Sprintf("provision.%d%s", i, rest)
			break
		}
	}
	return append(all, diags.Problem{At: at, What: "Invalid provisioning step", Why: refused.Why, Next: refused.Next})
}

// legible is a step without the durations and the mode that cannot be read: their attributes'
// validators tell them, and what else is wrong is to be told, too.
func legible(s agentapi.Step) agentapi.Step {
	for _, text := range []*string{&s.PauseBefore, &s.Timeout, &s.Backoff} {
		if _, err := time.ParseDuration(*text); err != nil {
			*text = ""
		}
	}
	if s.File != nil {
		f := *s.File
		if n, err := strconv.ParseUint(f.Mode, 8, 32); err != nil || n == 0 || fs.FileMode(n) > fs.ModePerm {
			f.Mode = ""
		}
		s.File = &f
	}
	return s
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// own is what an optional attribute has for a value: nothing, where it is the base.
func own[T comparable](value, base T) *T {
	if value == base {
		return nil
	}
	return &value
}
