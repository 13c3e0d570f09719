// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// TestWatchStories: what nodes answer, look by look, and what a drill makes of it.
func TestWatchStories(t *testing.T) {
	datadriven.Walk(t, "testdata/watch", func(t *testing.T, path string) {
		began := time.Unix(0, 0)
		var w *watch
		var ended time.Time
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "nodes":
				w = &watch{began: began}
				for _, a := range d.CmdArgs {
					w.mu.nodes = append(w.mu.nodes, sight{name: a.Key})
				}
				return ""
			case "look": // look 1.5s, and a line per node: NAME key=value …, or NAME error
				at, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				if len(d.CmdArgs) > 1 && d.CmdArgs[1].Key == "thawed" {
					ended = began.Add(at)
				}
				for line := range strings.Lines(d.Input) {
					see(t, w, strings.Fields(line), began.Add(at))
				}
				leader, nodes := w.nodes()
				var out strings.Builder
				for _, n := range nodes {
					fmt.Fprintf(&out, "%s log=%s switches=%d hedges=%d hung=%v\n", n.Name, n.Log, n.Switches, n.Hedges, n.Hung)
				}
				fmt.Fprintf(&out, "leader=%s home=%v\n", leader, w.home())
				return out.String()
			case "result":
				var r Result
				w.fill(&r, ended)
				var out strings.Builder
				for _, e := range r.Events {
					fmt.Fprintf(&out, "%v %s %s %s\n", e.At, e.Node, e.What, e.Why)
				}
				for _, n := range r.Nodes {
					fmt.Fprintf(&out, "%s switches=%d hedges=%d secondary=%v failback=%v\n", n.Name, n.Switches, n.Hedges, n.Secondary, n.Failback)
				}
				fmt.Fprintf(&out, "leader=%s changes=%d\n", r.Leader, r.LeaderChanges)
				return out.String()
			}
			d.Fatalf(t, "no command %s", d.Cmd)
			return ""
		})
	})
}

func see(t *testing.T, w *watch, words []string, now time.Time) {
	t.Helper()
	i := -1
	for n := range w.mu.nodes {
		if w.mu.nodes[n].name == words[0] {
			i = n
		}
	}
	if i < 0 {
		t.Fatalf("no node %s", words[0])
	}
	if words[1] == "error" {
		w.seeLocked(i, api.NodeStores{}, errors.New("no answer"), now)
		return
	}
	var f api.Failover
	p := api.Partition{Name: "default"}
	started := time.Unix(1, 0)
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		n, _ := strconv.Atoi(value)
		d, _ := time.ParseDuration(value)
		switch key {
		case "log":
			f.Active = value
		case "switches":
			f.SwitchCount = uint64(n)
		case "hedges":
			f.HedgeCount = uint64(n)
		case "secondary":
			f.SecondaryDurationNS = int64(d)
		case "hung":
			f.HungNS = int64(d)
		case "why":
			f.LastSwitch = &api.Switch{Reason: value}
		case "engine":
			started = time.Unix(int64(n), 0)
		case "leader":
			p.Leader = value
		case "term":
			p.Term = uint64(n)
		default:
			t.Fatalf("no word %s", word)
		}
	}
	w.seeLocked(i, api.NodeStores{StartedAt: started, Stores: []api.Store{{Failover: f, Partitions: []api.Partition{p}}, {}}}, nil, now)
}

// A node that does not answer keeps nobody from being asked, and the watch
// ends with its context while a question is open.
func TestWatchAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		w := newWatch(ctx, time.Now(), []string{"a", "b"}, []ask{
			func(context.Context) (api.NodeStores, error) {
				asked++
				return api.NodeStores{Stores: []api.Store{{Failover: api.Failover{Active: logPrimary, HedgeCount: uint64(asked)}}}}, nil
			},
			func(ctx context.Context) (api.NodeStores, error) {
				<-ctx.Done()
				return api.NodeStores{}, ctx.Err()
			},
		})
		time.Sleep(10*time.Second + watchEvery/2)
		synctest.Wait()
		if _, n := w.nodes(); n[0].Hedges < 90 || n[1].Log != "" || w.home() {
			t.Errorf("after ten seconds: %+v", n)
		}
		cancel()
		w.wait()
		if len(w.mu.events) != 0 {
			t.Errorf("events %+v of a node that was never there", w.mu.events)
		}
	})
}
