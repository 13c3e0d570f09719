// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var units = map[string]float64{
	"": 1, "b": 1,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

var errSize = errors.New("not a size")

// ParseSize reads a number of bytes: 256KiB, 1.5MiB, 10MB, 4096. KiB is 1024
// bytes and KB is 1000; upper and lower case are the same.
func ParseSize(s string) (int64, error) {
	number := strings.TrimRightFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[len(number):]))]
	if !ok || number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q: %w", s, errSize)
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n*unit >= math.MaxInt64 {
		return 0, fmt.Errorf("%q: %w", s, errSize)
	}
	return int64(n * unit), nil
}
