// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package diags turns errors into what a person reads in Terraform: a summary
// that says what failed, and a detail that says why and what to do next.
package diags

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Problem is a diagnostic as a value, so that code which decides need not know
// Terraform's types.
type Problem struct {
	// At is the attribute it is about: "nodes.a.raft_logstore.backend"; empty for the whole.
	At   string
	What string
	Why  string
	Next string
}

// Text is the detail of a problem: why, and what to do next.
func (p Problem) Text() string {
	return strings.Join(nonEmpty(sentence(p.Why), p.Next), "\n\n")
}

// Error reads as one line.
func (p Problem) Error() string {
	return strings.Join(nonEmpty(sentence(p.What+colon(p.Why)), p.Next), " ")
}

// FromError says what failed, why, and what to do next. An error of the platform
// or of the agent brings its own advice; next is used where it brings none.
func FromError(what string, err error, next string) Problem {
	p := Problem{What: what, Next: next}
	var own Problem
	place, isPlatform := errors.AsType[*platform.Error](err)
	e, isAgent := errors.AsType[*agentapi.Error](err)
	switch {
	case errors.As(err, &own):
		own.What = cmp.Or(own.What, what)
		return own
	case isAgent:
		// What was wrapped around the refusal says where it comes from.
		around, ok := strings.CutSuffix(err.Error(), e.Error())
		if !ok { // one of several, of which each brings its advice
			p.Why = err.Error()
			return p
		}
		p.Why = around + e.What + colon(e.Why)
		if e.Next != "" {
			p.Next = e.Next
		}
		return p
	case isPlatform:
		// What was wrapped around it says which node it is about.
		around, ok := strings.CutSuffix(err.Error(), place.Error())
		if !ok {
			p.Why = err.Error()
			return p
		}
		p.Why = around + place.What
		if place.Err != nil {
			p.Why += ": " + place.Err.Error()
		}
		p.Next = cmp.Or(place.Next, next)
		return p
	case errors.Is(err, context.DeadlineExceeded):
		p.Why = err.Error()
		p.Next = strings.Join(nonEmpty(next, "More time can be given in timeouts."), " ")
		return p
	case errors.Is(err, api.ErrNotReached), errors.Is(err, agentapi.ErrUnreachable):
		p.Why = err.Error()
		if next == "" {
			p.Next = "Check that the node runs; applying again starts agents and engines that do not."
		}
		return p
	}
	p.Why = err.Error()
	return p
}

// Diagnostic makes an error of a problem.
func (p Problem) Diagnostic() diag.Diagnostic {
	return withPath(p, diag.NewErrorDiagnostic(p.What, p.Text()))
}

// Warning makes a warning of a problem.
func (p Problem) Warning() diag.Diagnostic {
	return withPath(p, diag.NewWarningDiagnostic(p.What, p.Text()))
}

func withPath(p Problem, d diag.Diagnostic) diag.Diagnostic {
	if p.At == "" {
		return d
	}
	return diag.WithPath(attributePath(p.At), d)
}

func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.HasSuffix(s, ".") || strings.Contains(s, "\n") {
		return s
	}
	return s + "."
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func nonEmpty(parts ...string) []string {
	var all []string
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return all
}
