// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walkthrough

import (
	"testing"
	"time"
)

func TestIntervals(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }
	date := func(second int) string { return at(second).Format(time.UnixDate) + "\n" }
	got, err := intervals(date(0)+"Stalling\n"+date(5)+"Unstalling\n"+date(15)+"Stalling\nUnStalling\n", at(55))
	if err != nil || len(got) != 2 || got[0] != (Interval{at(0), at(5)}) || got[1] != (Interval{at(15), at(55)}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := intervals("bash: line 3: date: command not found\nStalling\n", at(1)); err == nil {
		t.Errorf("no date, and %v", got)
	}
}
