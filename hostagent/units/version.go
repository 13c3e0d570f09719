// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Version asks systemd for its version.
func Version(ctx context.Context, sys System) (int, error) {
	out, err := sys.Run(ctx, "systemctl", "--version")
	if err != nil {
		return 0, err
	}
	return parseVersion(out)
}

// parseVersion reads "systemd 252 (252.38-1~deb12u1)" and a line of features.
func parseVersion(out string) (int, error) {
	words := strings.Fields(out)
	if len(words) > 1 && words[0] == "systemd" {
		number, _, _ := strings.Cut(words[1], ".")
		number, _, _ = strings.Cut(number, "~") // 257~rc1
		if n, err := strconv.Atoi(number); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("systemctl --version says %q, which is not understood", strings.TrimSpace(out))
}
