// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"strings"
)

// Refusal says which field of a spec a machine does not fit, and how. Nothing
// has been written then.
type Refusal struct {
	Field  string `json:"field"`            // "stores.0.label"
	Device string `json:"device,omitempty"` // where it is about one
	Want   string `json:"want"`
	Found  string `json:"found"`
	Next   string `json:"next,omitempty"` // what a person can do
	// Unsure: a device did not say what is on it. It may, the next time.
	Unsure bool `json:"unsure,omitempty"`
}

func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(r.Field)
	if r.Device != "" {
		b.WriteString(" (" + r.Device + ")")
	}
	fmt.Fprintf(&b, ": want %s, found %s", r.Want, r.Found)
	return b.String()
}

// Refusals returns the refusals that err consists of, in their order.
func Refusals(err error) []*Refusal {
	switch e := err.(type) { //nolint:errorlint // all of a tree of errors, where errors.As finds one
	case *Refusal:
		return []*Refusal{e}
	case interface{ Unwrap() error }:
		return Refusals(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*Refusal
		for _, one := range e.Unwrap() {
			all = append(all, Refusals(one)...)
		}
		return all
	}
	return nil
}
