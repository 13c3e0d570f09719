// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"context"
	_ "embed" // the script
	"fmt"
	"os"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

//go:embed script/uninstall.sh
var uninstallScript string

// binary is the holdfast binary that the machines shall run.
type binary struct {
	file   *os.File
	size   int64
	goarch string
}

func openBinary(path string) (_ *binary, err error) {
	defer func() {
		if err != nil {
			err = &platform.Error{What: fmt.Sprintf("the holdfast binary %q cannot be installed", path), Err: err,
				Next: "Build it for the machines with make build, and set HOLDFAST_BINARY or the provider's binary to its path."}
		}
	}()
	fi, err := os.Stat(path)
	if err == nil && (!fi.Mode().IsRegular() || fi.Mode()&0o111 == 0) {
		err = errBinary
	}
	if err != nil {
		return nil, err
	}
	arch, err := sshhost.BinaryGOARCH(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &binary{file: f, size: fi.Size(), goarch: arch}, nil
}

func (b *binary) close() { _ = b.file.Close() } // it was only read

// requirements are what a machine has to be to run it.
func (b *binary) requirements() sshhost.Requirements { return sshhost.DefaultRequirements(b.goarch) }

// upload installs the binary, unless the machine has it.
func (b *binary) upload(ctx context.Context, n *node) (sshhost.Installed, error) {
	return n.host.Upload(ctx, sshhost.File{Path: binaryPath, Content: b.file, Size: b.size, Mode: 0o755, Owner: "root:root", Root: true, GOARCH: b.goarch})
}

// previous is the SHA-256 of the binary before the one that is installed; empty
// where there is none.
func (n *node) previous(ctx context.Context) (string, error) {
	result, err := n.host.Run(ctx, sshhost.Command{What: "looking at " + binaryPath + ".previous", Root: true, Idempotent: true, Timeout: lookBound,
		Env:    map[string]string{"PREVIOUS": binaryPath + ".previous"},
		Script: `[ -f "$PREVIOUS" ] || exit 0; sum=$(sha256sum < "$PREVIOUS") || exit 1; printf 'holdfast: previous=%s\n' "${sum%% *}"`})
	return strings.TrimSpace(sshhost.Answer(result.Stdout)["previous"]), err
}

// uninstall removes the binary, and what installing it left.
func (n *node) uninstall(ctx context.Context) error {
	_, err := n.host.Run(ctx, sshhost.Command{What: "removing " + binaryPath, Script: uninstallScript, Root: true, Idempotent: true, Timeout: lookBound,
		Env: map[string]string{"DIR": binaryDir, "NAME": binaryName}})
	return err
}
