// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package env is what the provider hands to its resources: the platforms, the
// holdfast binary, and where progress goes. It keeps no state.
package env

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/progress"
)

// Env is the ProviderData of every resource and data source.
type Env struct {
	// Local returns the platform of the cluster on this machine that lives in
	// directory, which is absolute. It touches nothing.
	Local func(directory string) (platform.Platform, error)
	// Binary is the provider's own setting, empty where it has none.
	Binary   string
	Progress *progress.Log
}

// Of reads ProviderData. It is nil while Terraform validates.
func Of(providerData any) (*Env, error) {
	if providerData == nil {
		return nil, nil //nolint:nilnil // not configured yet; nothing is called before it is
	}
	e, ok := providerData.(*Env)
	if !ok {
		return nil, fmt.Errorf("the provider handed over %T, which is a bug of the provider: please report it", providerData)
	}
	return e, nil
}

// FindBinary returns the absolute path of the holdfast binary: what the resource
// says, what the provider says, $HOLDFAST_BINARY, beside the provider's own
// executable, then on PATH.
func (e *Env) FindBinary(resource string) (string, error) {
	for _, c := range []struct{ path, from string }{
		{resource, "the resource's binary"},
		{e.Binary, "the provider's binary"},
		{os.Getenv("HOLDFAST_BINARY"), "HOLDFAST_BINARY"},
	} {
		if c.path == "" {
			continue
		}
		abs, err := executable(c.path)
		if err != nil {
			return "", diags.Problem{What: "The holdfast binary is not usable", Why: fmt.Sprintf("%s is %q: %v", c.from, c.path, err),
				Next: "Build it with `make build`, or `go build -o bin/holdfast ./hostagent`, and name its path."}
		}
		return abs, nil
	}
	if self, err := os.Executable(); err == nil {
		if abs, err := executable(filepath.Join(filepath.Dir(self), "holdfast")); err == nil {
			return abs, nil
		}
	}
	if found, err := exec.LookPath("holdfast"); err == nil {
		return filepath.Abs(found)
	}
	return "", diags.Problem{What: "The holdfast binary was not found", Why: "neither the resource nor the provider names it, HOLDFAST_BINARY is not set, and it is neither beside the provider nor on PATH",
		Next: "Build it with `make build`, or `go build -o bin/holdfast ./hostagent`, and set `binary` in the provider's configuration."}
}

func executable(path string) (string, error) {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case fi.IsDir():
		return "", errors.New("it is a directory")
	case fi.Mode()&0o111 == 0:
		return "", errors.New("it is not executable")
	}
	return filepath.Abs(path)
}
