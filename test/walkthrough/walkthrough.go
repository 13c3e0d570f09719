// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package walkthrough runs on machines what CockroachDB's walkthrough of WAL failover does there. Its two scripts are here
// with another unit's name, and ended after the last "Unstalling"; when they run they get the disk's numbers, too.
package walkthrough

import (
	"context"
	"embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/test/traffic"
	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

//go:embed *.sh
var scripts embed.FS

// The scripts: Flip stalls for 5, 15 and 40 s, Long for 100 s.
const (
	Flip = "wal-flip.sh"
	Long = "long-stall.sh"
)

// numbersInScript are the data disk's in the scripts.
const numbersInScript = "259:0"

// Interval is one stall of a script.
type Interval struct{ From, To time.Time }

func (i Interval) Length() time.Duration { return i.To.Sub(i.From) }

// intervals reads what a script printed, by its dates. A line without one before it
// was printed just before the end.
func intervals(out string, end time.Time) ([]Interval, error) {
	var all []Interval
	var at time.Time
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		word := strings.ToLower(line)
		switch {
		case strings.HasPrefix(word, "stalling"):
			if at.IsZero() {
				return nil, fmt.Errorf("no date before %q in:\n%s", line, out)
			}
			all = append(all, Interval{From: at})
		case strings.HasPrefix(word, "unstalling"):
			if len(all) == 0 {
				return nil, fmt.Errorf("nothing was stalled before %q in:\n%s", line, out)
			}
			if at.IsZero() {
				at = end
			}
			all[len(all)-1].To = at
		default:
			var err error
			if at, err = time.Parse(time.UnixDate, line); err != nil {
				return nil, fmt.Errorf("%w in:\n%s", err, out)
			}
			continue
		}
		at = time.Time{}
	}
	return all, nil
}

// Sample is what a node said of its log at one time.
type Sample struct {
	At       time.Time
	Failover *api.Failover // nil where it did not answer
	writes   int           // of the cluster's clients, acknowledged by then
}

// Shell is a way to a machine, a test/vm.Shell.
type Shell interface {
	Run(ctx context.Context, command string) (string, error)
	Upload(ctx context.Context, name string, mode uint32, content io.Reader) error
}

// Node is a machine whose data disk hangs.
type Node struct {
	Name    string
	Shell   Shell  // for this alone: the script runs in it to its end
	Numbers string // major:minor of the data disk
	Store   func(context.Context) (api.Store, error)
}

func (n Node) sample(ctx context.Context, l *traffic.Traffic) Sample {
	st, err := n.Store(ctx)
	s := Sample{At: time.Now(), writes: l.Arrived()}
	if err == nil {
		s.Failover = &st.Failover
	}
	return s
}

// forgets is how long a relapse is remembered: a log that fails over again within it stays on the side for
// twice as long as the last time.
const forgets = time.Minute

// settle waits until what the log met before is forgotten: how long it stays on the side after a stall is the stall's alone then.
func (n Node) settle(t *testing.T) {
	t.Helper()
	wait.Within(t, 5*time.Minute, n.Name+" has not switched for "+forgets.String(), func() bool {
		st, err := n.Store(t.Context())
		if err != nil || st.Failover.LastSwitch == nil {
			return err == nil
		}
		out, err := n.Shell.Run(t.Context(), "date +%s") // its clock is not the test's
		if err != nil {
			t.Fatal(err)
		}
		now, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Unix(now, 0).Sub(st.Failover.LastSwitch.At) > forgets
	})
}

// Run runs a script on a node, as root, to its end, and asks the node
// all the while how its log does. The last sample is of a log that has gone back to its
// data disk, or of an engine that was started again.
func (n Node) Run(t *testing.T, script string, l *traffic.Traffic) ([]Interval, []Sample) {
	t.Helper()
	b, err := scripts.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), numbersInScript, n.Numbers)
	if err := n.Shell.Upload(t.Context(), "/run/"+script, 0o777, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	n.settle(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	samples := []Sample{n.sample(ctx, l)} // before any stall, whatever the two clocks say
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			samples = append(samples, n.sample(ctx, l))
			<-tick.C
		}
	})
	out, err := n.Shell.Run(t.Context(), "sudo env LC_ALL=C bash /run/"+script)
	if err != nil {
		t.Error(err)
	}
	stalls, err := intervals(out, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wait.Within(t, 2*time.Minute, n.Name+" writes to its data disk again", func() bool {
		f := n.sample(t.Context(), l).Failover
		return f != nil && f.Active == "primary" && f.Off == ""
	})
	cancel()
	asking.Wait()
	return stalls, append(samples, n.sample(t.Context(), l))
}

func lastSwitch(f *api.Failover) string {
	if f.LastSwitch == nil {
		return ""
	}
	return "; " + f.LastSwitch.Reason
}

// WritesIn is how many writes arrived in an Interval.
func WritesIn(samples []Sample, i Interval) int {
	first, last := -1, 0
	for _, s := range samples {
		if s.At.Before(i.From) || s.At.After(i.To) {
			continue
		}
		if last = s.writes; first < 0 {
			first = last
		}
	}
	return last - max(first, 0)
}

// failoverBefore is the last answer before a time; the first sample is before any. nil where there was none.
func failoverBefore(samples []Sample, t time.Time) *api.Failover {
	found := samples[0].Failover
	for _, s := range samples[1:] {
		if s.At.Before(t) && s.Failover != nil {
			found = s.Failover
		}
	}
	return found
}

// Flips says of each stall of Flip, which was shorter than max_sync_duration, that the log went to the side disk and came back,
// counted, for about as long as the stall, and that writes went on all the while. The last one is just as long as
// max_sync_duration, and may end either way: survived is whether the engine is the same as before.
func Flips(t *testing.T, stalls []Interval, samples []Sample, survived bool) {
	t.Helper()
	if len(stalls) != 3 {
		t.Fatalf("%d stalls: %v", len(stalls), stalls)
	}
	for i, stall := range stalls {
		end := time.Now()
		if i+1 < len(stalls) {
			end = stalls[i+1].From
		}
		before, after := failoverBefore(samples, stall.From), failoverBefore(samples, end)
		if before == nil || after == nil {
			t.Fatalf("the node did not answer before the stall of %s, or after it", stall.Length())
		}
		writes := WritesIn(samples, stall)
		if writes == 0 {
			t.Errorf("in the stall of %s no write arrived", stall.Length())
		}
		if i == len(stalls)-1 && !survived {
			t.Logf("stall of %s: the engine was started again, %d writes meanwhile", stall.Length(), writes)
			break // its counters began anew
		}
		switches := int(after.SwitchCount) - int(before.SwitchCount)
		aside := time.Duration(after.SecondaryDurationNS - before.SecondaryDurationNS)
		t.Logf("stall of %s: %d switches, %s on the side disk, %d writes meanwhile%s", stall.Length(), switches, aside.Round(time.Millisecond), writes, lastSwitch(after))
		if switches != 2 {
			t.Errorf("the stall of %s makes %d switches, want one there and one back", stall.Length(), switches)
		}
		if aside < stall.Length()-3*time.Second || aside > stall.Length()+15*time.Second {
			t.Errorf("in the stall of %s the log was on the side disk for %s", stall.Length(), aside)
		}
	}
}
