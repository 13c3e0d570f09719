// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package env is what the provider hands to its resources: where clusters are and the
// platforms that reach them, the holdfast binary, and where progress goes. It keeps
// what was opened over SSH: one platform per place, one connection per machine of it,
// for as long as the process lives.
package env

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/progress"
)

// ErrUnknown is returned, wrapped, by Open where the provider's own configuration is not
// known yet: while planning, it may come from what is not there yet.
var ErrUnknown = errors.New("the provider's configuration is not known yet")

// Env is the ProviderData of every resource and data source.
type Env struct {
	// Local returns the platform of the cluster on this machine that lives in
	// directory, which is absolute. It touches nothing.
	Local func(directory string) (platform.Platform, error)
	// SSH returns the platform of the cluster on machines that are reached over SSH. It
	// connects nowhere. Its error says where the provider's own configuration does not
	// do, or is not known yet.
	SSH func(machines map[string]Machine) (platform.Platform, error)
	// GCE returns the platform of the cluster in a place of Compute Engine, which can be observed and destroyed.
	// It asks nobody. Its error is as SSH's.
	GCE func(project, cluster string) (*gce.Platform, error)
	// Binary is the provider's own setting, empty where it has none.
	Binary string
	// BinaryUnknown: it has one that is not known yet.
	BinaryUnknown bool
	Progress      *progress.Log

	mu struct {
		sync.Mutex
		opened map[string]platform.Platform // of machines, by location
	}
}

// Open returns the platform of the cluster in a place: the same one each time, so that
// all who ask share the connections.
func (e *Env) Open(l Location) (platform.Platform, error) {
	if !l.Remote() {
		return e.Local(l.Directory)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	where := l.String()
	if p, ok := e.mu.opened[where]; ok {
		return p, nil
	}
	p, err := e.open(l)
	if err != nil {
		return nil, err
	}
	if e.mu.opened == nil {
		e.mu.opened = map[string]platform.Platform{}
	}
	e.mu.opened[where] = p
	return p, nil
}

func (e *Env) open(l Location) (platform.Platform, error) {
	if l.Project != "" {
		return e.GCE(l.Project, l.Cluster)
	}
	return e.SSH(l.Machines)
}

// OpenFor is Open for who makes a cluster of machines on Compute Engine. On the same connections as
// that of Open.
func (e *Env) OpenFor(l Location, machines gce.Machines) (platform.Platform, error) {
	p, err := e.Open(l)
	if err != nil {
		return nil, err
	}
	at, ok := p.(*gce.Platform)
	if !ok {
		return nil, fmt.Errorf("%s is no place on Compute Engine", l)
	}
	return at.For(machines)
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
// executable, then on PATH. It is ErrUnknown while what the provider says is not known.
func (e *Env) FindBinary(resource string) (string, error) {
	if resource == "" && e.BinaryUnknown {
		return "", fmt.Errorf("%w: binary", ErrUnknown)
	}
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
