// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// unknown stands where a value is not known.
const unknown = "–"

// bytesText is a size in the unit that fits: "24.9 GiB".
func bytesText(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n), -1
	for v >= 1024 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.*f %ciB", digits(v), v, "KMGTP"[unit])
}

// digits are those after the point that make three with those before it.
func digits(v float64) int {
	switch {
	case v < 10:
		return 2
	case v < 100:
		return 1
	}
	return 0
}

// spanText is a duration in one or two units: "12 s", "3 min 5 s".
func spanText(d time.Duration) string {
	switch {
	case d < 0:
		return unknown
	case d == 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return trimZero(fmt.Sprintf("%.1f", d.Seconds())) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return two(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "min")
	}
	return two(d, 24*time.Hour, "d", time.Hour, "h")
}

func two(d, unit time.Duration, name string, sub time.Duration, subName string) string {
	text := fmt.Sprintf("%d %s", d/unit, name)
	if rest := d % unit / sub; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, subName)
	}
	return text
}

func trimZero(s string) string { return strings.TrimSuffix(s, ".0") }

// agoText is how long ago something was, in the largest unit.
func agoText(d time.Duration) string {
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d d ago", d/(24*time.Hour))
}

// countText groups digits by narrow spaces.
func countText(n uint64) string {
	s := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// figure is a measured number with as many digits as mean something.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return unknown
	case v >= 1000:
		return countText(uint64(math.Round(v)))
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', digits(v), 64)
}

// list joins words as a sentence does.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
