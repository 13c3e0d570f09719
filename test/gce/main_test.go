// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Package gce applies examples/gce with a real terraform, as its users do, and does to machines, disks and network what
// happens to them. The project is an emulated one, whose machines are containers with a whole Debian: that needs root.
// With HOLDFAST_ACC_GCE_PROJECT it is one of Google's, with the credentials that Google's libraries find; nobody has run
// that yet. It costs money while it runs, and TestSweep removes what a killed run left.
package gce

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/containers"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/guests"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// projectVariable names a project of Google's.
const projectVariable = "HOLDFAST_ACC_GCE_PROJECT"

// here is the inside of the emulated project; nil where there is none, and missing says why.
var (
	here    *world.World
	missing error
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(projectVariable) != "" || os.Getenv("TF_ACC") == "" {
		missing = errors.New("TF_ACC is not set: `make testgce` runs this")
		return m.Run()
	}
	if !world.Inside() {
		code, err := 1, containers.Prepare(context.Background())
		if err == nil && os.Getenv(guestsVariable) != "" {
			err = guests.Prepare(context.Background())
		}
		if err == nil {
			code, err = world.Enter(context.Background(), nil)
		}
		if errors.Is(err, world.ErrMissing) || errors.Is(err, vm.ErrMissing) {
			missing = err
			return m.Run() // they are skipped
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}
	var err error
	if here, err = world.Open(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := here.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
