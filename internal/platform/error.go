// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package platform

import "strings"

// Error is a failure that a person has to mend.
type Error struct {
	What string // what failed
	Err  error  // why
	Next string // what to do next
}

// Error reads as "What: why. Next".
func (e *Error) Error() string {
	s := e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Next != "" {
		s = strings.TrimSuffix(s, ".") + ". " + e.Next
	}
	return s
}

// Unwrap returns why.
func (e *Error) Unwrap() error { return e.Err }
