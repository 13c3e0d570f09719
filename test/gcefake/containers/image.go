// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package containers

import (
	"context"
	"crypto/sha256"
	_ "embed" // the script of the recipe
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// The image's distribution, and what is in it: what Google's images of Debian have, as far as it matters here.
const suite = "bookworm"

var packages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "openssh-server", "sudo", "procps", "iproute2", "kmod", "login", "passwd", "ca-certificates",
	"util-linux", "fdisk", "e2fsprogs", "xfsprogs", "google-guest-agent",
}

// customizeScript runs in the end.
//
//go:embed customize.sh
var customizeScript string

// recipeVersion counts changes of how an image is made of the rest.
const recipeVersion = 1

// families are the images that are this one, by the end of their link.
var families = []string{"family/debian-12", "debian-12-bookworm"}

// isImage tells whether an image is the one that is built.
func isImage(link string) bool {
	for _, f := range families {
		if strings.Contains(link, f) {
			return true
		}
	}
	return false
}

// tree is the directory with the image's files, which nobody may change.
func tree(ctx context.Context) (string, error) {
	args := []string{
		"--quiet", "--variant=minbase", "--format=directory", "--include=" + strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%q\n%q\n%q\n", recipeVersion, args, suite, customizeScript))
	return vm.Cached(ctx, "tree-"+hex.EncodeToString(sum[:8]), func(ctx context.Context, work string) error {
		script := filepath.Join(work, "customize.sh")
		if err := os.WriteFile(script, []byte(customizeScript), 0o700); err != nil {
			return err
		}
		return vm.Run(ctx, "mmdebstrap", append(args, "--customize-hook="+script, suite, filepath.Join(work, "made"))...)
	})
}
