// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"errors"
	"fmt"
	"time"
)

// Refusal says why a file is not used.
type Refusal struct {
	File  string
	Field string // what of the file: mode, cluster, name, valid until …
	Have  string
	Want  string
	Next  string // what to do
	Err   error  // what is behind it, if anything
}

// Error says all but Next.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("%s: %s is %q, it must be %s", r.File, r.Field, r.Have, r.Want)
	if r.Err != nil {
		text += ": " + r.Err.Error()
	}
	return text
}

// Unwrap is Err.
func (r *Refusal) Unwrap() error { return r.Err }

// Errors that a Refusal wraps.
var (
	ErrExpired     = errors.New("it has expired")
	ErrNotYetValid = errors.New("it is not valid yet")
)

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
