// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"crypto/sha256"
	_ "embed" // the scripts of the recipe
	"encoding/hex"
	"fmt"
	"strings"
)

// The image's distribution, and what is in it beside its essential packages.
const suite = "bookworm"

var packages = []string{
	"linux-image-cloud-amd64", "initramfs-tools", "busybox", "kmod", "udev",
	"systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "procps", "iproute2", "iputils-ping",
	"util-linux", "fdisk", "e2fsprogs", "xfsprogs", "dmsetup", "google-guest-agent",
}

// essentialScript runs before the packages are there: the kernel's package
// makes the initrd, and finds its configuration.
//
//go:embed recipe/essential.sh
var essentialScript string

// customizeScript runs in the end.
//
//go:embed recipe/customize.sh
var customizeScript string

// Of the root file system.
const (
	rootLabel = "root"
	rootSize  = 4 * GiB // sparse
)

// recipeVersion counts changes of how an image is made of the rest.
const recipeVersion = 2

// bootstrap is the command line of mmdebstrap that fills a directory.
func bootstrap(scripts, root string) []string {
	return []string{
		"--quiet", "--variant=apt", "--format=directory",
		"--include=" + strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--essential-hook=" + scripts + "/essential.sh",
		"--customize-hook=" + scripts + "/customize.sh",
		suite, root,
	}
}

// recipeHash names the image.
func recipeHash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%q\n%q\n%q\n%q\n%d\n", recipeVersion, bootstrap("", ""), essentialScript, customizeScript, rootLabel, rootSize)
	return hex.EncodeToString(h.Sum(nil))[:16]
}
