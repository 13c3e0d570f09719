// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
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

// Refusals returns the refusals that err consists of.
func Refusals(err error) []*Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // each of a join, not the first
			var all []*Refusal
			for _, e := range many.Unwrap() {
				all = append(all, Refusals(e)...)
			}
			return all
		}
		return []*Refusal{r}
	}
	return nil
}
