// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// planNew looks at what a new cluster needs before anybody says yes to it: the binary,
// and the machines, where these are there already.
func (r *Resource) planNew(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || r.env == nil {
		return
	}
	want, known := m.desired(ctx, &resp.Diagnostics)
	if !known || resp.Diagnostics.HasError() {
		return
	}
	binary, err := r.env.FindBinary(want.binary)
	switch {
	case errors.Is(err, env.ErrUnknown):
		return
	case err != nil:
		resp.Diagnostics.Append(diags.FromError("The holdfast binary is missing", err, "").Diagnostic())
		return
	}
	if !want.location.Remote() {
		return
	}
	p, err := r.open(want)
	switch {
	case errors.Is(err, env.ErrUnknown):
		return
	case err != nil:
		resp.Diagnostics.Append(diags.FromError("The machines cannot be reached", err, "").Diagnostic())
		return
	}
	resp.Diagnostics.Append(preflight(ctx, p, want, binary)...)
}

// How long a plan asks the machines of a new cluster whose they are, and then what would
// hinder them.
const (
	adoptTimeout     = 20 * time.Second
	preflightTimeout = 30 * time.Second
)

// preflight is what a new cluster's machines say before anything is made: an error
// where an apply would fail for certain, a warning where that cannot be told.
func preflight(ctx context.Context, p platform.Platform, want desired, binary string) diag.Diagnostics {
	const what = "The cluster cannot be made here"
	var all diag.Diagnostics
	asking, cancel := context.WithTimeout(ctx, adoptTimeout)
	name, id, ok, err := p.Adopt(asking)
	cancel()
	if err == nil && ok && name != want.name {
		all.Append(taken(want, name).Diagnostic())
		return all
	}
	if err == nil && ok {
		looking, cancel := context.WithTimeout(ctx, adoptTimeout)
		refused, _ := unlike(looking, p, want, id) // what cannot be told now, an apply tells
		cancel()
		for _, p := range refused {
			all.Append(p.Diagnostic())
		}
	} else {
		id = uuid.NewString() // that of a cluster which is being destroyed is not taken up again
	}
	if err == nil || errors.Is(err, sshhost.ErrUnreachable) { // then no machine that answers is anybody's
		looking, cancel := context.WithTimeout(ctx, preflightTimeout)
		err = p.Preflight(looking, want.platform(id, binary, nil))
		cancel()
	}
	for _, err := range causes(err) {
		if unanswered(err) {
			silent := "A machine does not answer"
			if want.cloud != nil && !errors.Is(err, sshhost.ErrUnreachable) && !errors.Is(err, sshhost.ErrConnectionLost) {
				silent = noCloud
			}
			all.Append(diags.FromError(silent, err, "It has to before an apply.").Warning())
		} else {
			all.Append(diags.FromError(what, err, "Nothing was changed.").Diagnostic())
		}
	}
	return all
}

// causes takes the failures of several machines apart.
func causes(err error) []error {
	if err == nil {
		return nil
	}
	list := err
	if p, ok := err.(*platform.Error); ok { //nolint:errorlint // one of a single machine stays whole
		list = p.Err
	}
	joined, ok := list.(interface{ Unwrap() []error }) //nolint:errorlint // as above
	if !ok {
		return []error{err}
	}
	var all []error
	var lines []string
	for _, e := range joined.Unwrap() {
		all, lines = append(all, causes(e)...), append(lines, e.Error())
	}
	if list.Error() != strings.Join(lines, "\n") { // somebody said more than a list
		return []error{err}
	}
	return all
}

// noCloud is what a plan says while Google does not answer.
const noCloud = "Compute Engine does not answer"

// unanswered tells errors that say nothing of a machine, or of a project, but that it could not be asked.
func unanswered(err error) bool {
	for _, certain := range []error{sshhost.ErrHostKey, sshhost.ErrHostKeyUnknown, sshhost.ErrArchitecture, sshhost.ErrSystem} {
		if errors.Is(err, certain) {
			return false
		}
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sshhost.ErrUnreachable) || errors.Is(err, sshhost.ErrConnectionLost) || errors.Is(err, gce.ErrTemporary)
}
