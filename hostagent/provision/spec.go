// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// FromSpec are the steps of a spec with their secrets, as far as these are known. The
// error is an *agentapi.Error.
func FromSpec(steps []agentapi.Step, secrets agentapi.Secrets) ([]Step, error) {
	all := []Step{}
	for i, s := range steps {
		p := parser{at: agentapi.PartProvision + "." + cmp.Or(s.Name, strconv.Itoa(i)), secrets: secrets}
		step := Step{
			Name: s.Name, Only: s.Only, Except: s.Except, Retries: s.Retries, Then: s.Then,
			PauseBefore: p.duration("pause_before", s.PauseBefore), Timeout: p.duration("timeout", s.Timeout), Backoff: p.duration("backoff", s.Backoff),
		}
		if f := s.File; f != nil {
			step.File = &File{Path: f.Path, Content: f.Content, Template: f.Template, Owner: f.Owner, Group: f.Group,
				Mode: p.mode("file.mode", f.Mode), Vars: p.values("file.secret_vars", f.Vars, f.SecretVars)}
		}
		if sh := s.Shell; sh != nil {
			step.Shell = &Shell{Inline: sh.Inline, Script: sh.Script, User: sh.User, Dir: sh.Dir, ValidExitCodes: sh.ValidExitCodes,
				Env: p.values("shell.secret_env", sh.Env, sh.SecretEnv)}
		}
		if p.err != nil {
			return nil, p.err
		}
		all = append(all, step)
	}
	return all, nil
}

// parser reads the fields of one step and keeps the first error.
type parser struct {
	at      string
	secrets agentapi.Secrets
	err     *agentapi.Error
}

func (p *parser) bad(field, value, why, next string) {
	if p.err == nil {
		field = p.at + "." + field
		p.err = &agentapi.Error{What: "the provisioning steps are refused", Why: fmt.Sprintf("%s = %q: %s", field, value, why), Next: next, Field: field}
	}
}

func (p *parser) duration(field, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		p.bad(field, text, "not a duration", "Write it as Go does: 30s, 5m.")
	}
	return d
}

func (p *parser) mode(field, text string) fs.FileMode {
	if text == "" {
		return 0
	}
	m, err := strconv.ParseUint(text, 8, 32)
	switch next := "Write an octal number such as 0644."; {
	case err != nil:
		p.bad(field, text, "not an octal number", next)
	case m == 0:
		p.bad(field, text, "nobody could read the file", next)
	case m > uint64(fs.ModePerm): // a larger one may read as another bit of Go's
		p.bad(field, text, "more than permissions", next)
	}
	return fs.FileMode(m)
}

// values joins variables with those that are secrets.
func (p *parser) values(field string, plain, secret map[string]string) map[string]Value {
	all := map[string]Value{}
	for name, text := range plain {
		all[name] = Plain(text)
	}
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		of := secret[name]
		if _, ok := all[name]; ok {
			p.bad(field+"."+name, of, "there is a variable "+name+" that is no secret, too", "Give one of them.")
		}
		if of == "" {
			p.bad(field+"."+name, of, "not the name of a secret", "Name one of the secrets that are sent with the spec.")
		}
		if text, ok := p.secrets[of]; ok {
			all[name] = Secret(text)
		} else {
			all[name] = Unknown(of)
		}
	}
	return all
}
