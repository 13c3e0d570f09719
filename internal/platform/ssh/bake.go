// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// Baking is what a machine gets before an image is made of its disk.
type Baking struct {
	Binary  string // path of the holdfast binary, which goes to where nodes have it
	Steps   []agentapi.Step
	Secrets agentapi.Secrets
}

const (
	// bakeBound is for all steps together: each has a bound of its own.
	bakeBound = 2 * time.Hour
	sealBound = 2 * time.Minute
)

// Bake installs the binary on a machine, runs the steps there, and then takes from it what is its alone: nobody
// can log in any more. It returns the SHA-256 of the binary. It waits for a machine that starts. The machine
// is somebody's who throws it away where Bake fails: nothing goes on from there.
func Bake(ctx context.Context, n Node, access Access, b Baking, progress func(string)) (sha256 string, err error) {
	bin, err := openBinary(b.Binary)
	if err != nil {
		return "", err
	}
	defer bin.close()
	way := access.way(n)
	way.UserComes, way.Progress, way.Secrets = true, progress, slices.Collect(maps.Values(b.Secrets))
	host, err := sshhost.New(way)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	one := &node{name: n.Address, cfg: n, address: n.Address, host: host}
	if err := host.Connect(ctx); err != nil {
		return "", err
	}
	facts, err := host.Facts(ctx, binaryPath)
	if err != nil {
		return "", err
	}
	if err := together(facts.Check(n.Address, bin.requirements())); err != nil {
		return "", err
	}
	installed, err := bin.upload(ctx, one)
	if err != nil {
		return "", err
	}
	progress(fmt.Sprintf("installed %s, %.12s", binaryPath, installed.SHA256))
	if len(b.Steps) > 0 {
		if err := one.prepare(ctx, b, progress); err != nil {
			return "", err
		}
	}
	progress("taking from the machine what is its alone")
	_, err = host.Run(ctx, sshhost.Command{Args: []string{binaryPath, "image", "seal", "-yes", "-user", n.User}, Root: true, Timeout: sealBound})
	return installed.SHA256, err
}

var errSteps = errors.New("the provisioning steps were not all done")

// prepare runs the steps. Secrets travel by standard input.
func (n *node) prepare(ctx context.Context, b Baking, progress func(string)) error {
	recipe, err := json.Marshal(map[string]any{"steps": b.Steps, "secrets": b.Secrets})
	if err != nil {
		return err
	}
	_, err = n.host.Run(ctx, sshhost.Command{Args: []string{binaryPath, "image", "prepare", "-"}, Root: true, Timeout: bakeBound,
		Stdin: bytes.NewReader(recipe), Line: progress})
	if exit, ok := errors.AsType[*sshhost.ExitError](err); ok {
		return &platform.Error{What: "the image is not made", Err: fmt.Errorf("%w: %w", errSteps, exit), Next: "Mend the step, and apply again: a new machine begins with the first one."}
	}
	return err
}
