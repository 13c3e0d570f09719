// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package local

import (
	"errors"
	"runtime"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// New refuses: loop devices, loopback addresses beyond 127.0.0.1 and pidfds are Linux's.
func New(Config) (platform.Platform, error) {
	return nil, &platform.Error{
		What: "the local platform is not available here",
		Err:  errors.New("it runs on Linux, this is " + runtime.GOOS),
		Next: "Apply on a Linux machine, or in a Linux virtual machine.",
	}
}
