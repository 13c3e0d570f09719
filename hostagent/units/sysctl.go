// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// sysctlDirs are where systemd-sysctl reads: of two files of one name the first counts,
// and files are read in the order of their names, the last value counts.
var sysctlDirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// counterparts are settings that take one of ours back when they are set.
var counterparts = map[string]string{"vm.dirty_ratio": "vm.dirty_bytes", "vm.dirty_background_ratio": "vm.dirty_background_bytes"}

// overridden are our settings that a file sets again that is read after ours: whoever
// wrote it wants it so, and to set ours would hold until the next boot.
func overridden(root string) map[string]bool {
	files := map[string]string{} // path by name
	for _, dir := range sysctlDirs {
		all, err := filepath.Glob(root + dir + "/*.conf")
		if err != nil {
			continue // a root with a pattern in it, as only tests could have
		}
		for _, p := range all {
			if name := filepath.Base(p); files[name] == "" {
				files[name] = p
			}
		}
	}
	set := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name <= filepath.Base(sysctlPath) {
			continue
		}
		b, err := os.ReadFile(files[name])
		if err != nil {
			continue // a link to nothing, with which a file is switched off
		}
		for l := range strings.Lines(string(b)) {
			for _, s := range sysctls {
				if sets(l, s.name) {
					set[s.name] = true
				}
			}
		}
	}
	return set
}

// sets reports whether a line of a file sets a value of the kernel, which it may name with
// slashes, after a dash, or with a pattern.
func sets(line, name string) bool {
	line = strings.TrimSpace(line)
	key, _, ok := strings.Cut(line, "=")
	if !ok || line[0] == '#' || line[0] == ';' {
		return false
	}
	key = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(key), "-"), "/", ".")
	if ours := counterparts[key]; ours != "" {
		key = ours
	}
	match, err := path.Match(key, name)
	return match && err == nil
}
