// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Step is one provisioning step; package hostagent/provision says what it means and
// checks it. Exactly one of File and Shell is set. Durations are Go's.
type Step struct {
	Name        string     `json:"name"`
	Only        []string   `json:"only,omitempty"`
	Except      []string   `json:"except,omitempty"`
	PauseBefore string     `json:"pause_before,omitempty"`
	Timeout     string     `json:"timeout,omitempty"`
	Retries     int        `json:"retries,omitempty"`
	Backoff     string     `json:"backoff,omitempty"`
	Then        string     `json:"then,omitempty"` // all
	File        *FileStep  `json:"file,omitempty"`
	Shell       *ShellStep `json:"shell,omitempty"`
}

// FileStep is a file with this content, or with that of a template.
type FileStep struct {
	Path     string            `json:"path"`
	Content  string            `json:"content,omitempty"`
	Template string            `json:"template,omitempty"`
	Vars     map[string]string `json:"vars,omitempty"`
	// SecretVars are further variables: the name of a secret by that of the variable.
	SecretVars map[string]string `json:"secret_vars,omitempty"`
	Owner      string            `json:"owner,omitempty"`
	Group      string            `json:"group,omitempty"`
	Mode       string            `json:"mode,omitempty"` // octal
}

// ShellStep is commands for /bin/sh -eu.
type ShellStep struct {
	Inline []string          `json:"inline,omitempty"`
	Script string            `json:"script,omitempty"`
	Env    map[string]string `json:"env,omitempty"`
	// SecretEnv are further variables: the name of a secret by that of the variable.
	SecretEnv      map[string]string `json:"secret_env,omitempty"`
	User           string            `json:"user,omitempty"`
	Dir            string            `json:"dir,omitempty"`
	ValidExitCodes []int             `json:"valid_exit_codes,omitempty"`
}

// maxShown is the longest text of a step that a change shows as it is.
const maxShown = 80

const digestPrefix = "sha256:"

// digests are the steps with their scripts and contents, and other values that do not
// fit a line, as hashes. They are those that package provision shows.
func digests(steps []Step) []Step {
	steps = slices.Clone(steps)
	for i := range steps {
		s := &steps[i]
		if s.File != nil {
			f := *s.File
			f.Content, f.Template, f.Vars = digest(f.Content), digest(f.Template), values(f.Vars)
			s.File = &f
		}
		if s.Shell != nil {
			sh := *s.Shell
			sh.Script, sh.Env = digest(sh.Script), values(sh.Env)
			if len(sh.Inline) > 0 {
				sh.Inline = []string{digest(strings.Join(sh.Inline, "\n") + "\n")}
			}
			s.Shell = &sh
		}
	}
	return steps
}

// values are variables as they may be shown. An empty one differs from none.
func values(vars map[string]string) map[string]string {
	all := make(map[string]string, len(vars))
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	for name, v := range vars {
		switch {
		case v == "":
			v = strconv.Quote(v)
		case len(v) > maxShown || strings.ContainsFunc(v, odd):
			v = digest(v)
		}
		all[name] = v
	}
	return all
}

func digest(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return digestPrefix + hex.EncodeToString(sum[:])
}

// short is a value as a change shows it: of a digest the beginning.
func short(value string) string {
	const digits = 12
	if sum, ok := strings.CutPrefix(value, digestPrefix); ok && len(sum) > digits {
		return digestPrefix + sum[:digits] + "…"
	}
	return value
}

// reordered is the change of order among the steps that are in both specs: they are
// done in it.
func reordered(from, to *Spec) []Change {
	if from == nil || to == nil {
		return []Change{}
	}
	names := func(steps, others []Step) (names []string) {
		for _, s := range steps {
			if slices.ContainsFunc(others, func(o Step) bool { return o.Name == s.Name }) {
				names = append(names, s.Name)
			}
		}
		return names
	}
	was, is := names(from.Provision, to.Provision), names(to.Provision, from.Provision)
	if slices.Equal(was, is) {
		return []Change{}
	}
	return []Change{{Attribute: "provision", From: strings.Join(was, ", "), To: strings.Join(is, ", ")}}
}

// Secrets are the values that a spec's steps name. They are sent beside the spec,
// are held in the agent's memory alone, and are in no record, status, log or error.
// An agent that was started anew has none until the next spec is sent.
type Secrets map[string]string

// String implements fmt.Stringer: no value is ever printed.
func (Secrets) String() string { return "(secrets)" }

// GoString implements fmt.GoStringer.
func (Secrets) GoString() string { return "agentapi.Secrets{…}" }

// SpecRequest is the body of PUT /v1/spec.
type SpecRequest struct {
	Spec
	Secrets Secrets `json:"secrets,omitempty"`
}
