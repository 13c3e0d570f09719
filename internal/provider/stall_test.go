// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// TestAccStall hangs the leader's data disk under a cluster that Terraform made. Writes
// go on, the data sources and the agent name the node and its disk, and a plan made
// meanwhile is empty: what comes and goes by itself is no drift. Then a node is told to
// fail over no more, and its engine is killed while the newest writes are on its side
// alone: the next one, started by the agent with the prev_path that nobody was asked
// for, has them.
//
// Seen to fail: with withPrevious passing the spec on as it is, the last engine does not
// start ("an armed side is not configured"); with the mode disabled, writes wait until
// the engine gives its disk up, and nobody says that a log is on its side.
func TestAccStall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("freezing a file system needs root")
	}
	t.Parallel()
	s := newSite(t, false)
	const keys = 64
	const node = "b"
	cfg := s.config(`wal_failover = { mode = "side-disk" }`) + fmt.Sprintf(around, "hello")
	log := func(node string) api.Failover { return s.status(node).Engine.Stores.Stores[0].Failover }
	var leader string // whose disk hangs
	var thaw func()

	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		CheckDestroy:             func(*terraform.State) error { return s.goneWithoutTrace() },
		Steps: []resource.TestStep{{
			Config: cfg,
			Check:  s.armed,
		}, {
			PreConfig: func() {
				leader, _ = s.leader()
				thaw = s.freeze(leader)
				s.write(keys)
				s.eventually(10*time.Second, func() error {
					st := s.status(leader)
					if !slices.ContainsFunc(st.Problems, func(p agentapi.Problem) bool { return strings.HasPrefix(p.What, "a disk hangs") }) {
						return fmt.Errorf("the agent says: %+v", st.Problems)
					}
					return nil
				})
			},
			Config:           cfg,
			ConfigPlanChecks: before(plancheck.ExpectEmptyPlan()),
			Check: resource.ComposeAggregateTestCheckFunc(
				func(st *terraform.State) error { // a busy machine may be late with other disks, too
					return resource.TestCheckTypeSetElemAttr("data.holdfast_cluster_status.s", "on_secondary.*", leader)(st)
				},
				func(st *terraform.State) error {
					i := strings.Index("abc", leader) // stores are in the nodes' order
					at := fmt.Sprintf("stores.%d.failover.", i)
					return errors.Join(
						resource.TestCheckResourceAttr("data.holdfast_stores.s", at+"active", "secondary")(st),
						resource.TestMatchResourceAttr("data.holdfast_stores.s", at+"switch_count", regexp.MustCompile("^[1-9]"))(st),
						resource.TestCheckResourceAttrSet("data.holdfast_stores.s", at+"last_switch.reason")(st),
					)
				},
			),
		}, {
			PreConfig: func() {
				thaw()
				s.eventually(30*time.Second, func() error {
					if f := log(leader); f.Active != "primary" || f.Pending > 0 {
						return fmt.Errorf("%+v", f)
					}
					return nil
				})
			},
			Config:           cfg,
			ConfigPlanChecks: before(plancheck.ExpectEmptyPlan()),
			Check:            s.keeps(keys),
		}, {
			PreConfig: func() {
				s.putSpec(node, func(spec *agentapi.Spec) { spec.WALFailover.Mode = "disabled" })
				thaw := s.freeze(node)
				s.write(keys) // the values of before; what counts is that they are new entries
				pid := s.status(node).Engine.PID
				s.eventually(10*time.Second, func() error {
					if f := log(node); f.Pending < 2 {
						return fmt.Errorf("too few operations are on the side alone: %+v", f)
					}
					return nil
				})
				if err := unix.Kill(pid, unix.SIGKILL); err != nil { // it is held by its disk
					t.Fatal(err)
				}
				thaw()
				s.eventually(20*time.Second, func() error {
					st := s.status(node)
					switch {
					case st.Engine.State != agentapi.EngineRunning || st.Engine.PID == pid:
						return fmt.Errorf("the engine is %s: %s", st.Engine.State, st.Engine.LastExit)
					case s.engineFile(node) != "disabled":
						return errors.New("the next engine would start with " + s.engineFile(node))
					}
					return nil
				})
				if f := log(node); f.Mode != "disabled" || f.Replayed == 0 {
					t.Errorf("nothing was taken from the side: %+v", f)
				}
			},
			Config:           cfg,
			ConfigPlanChecks: before(differ(node, "wal_failover", "disabled", "side-disk", "mode")),
			Check:            resource.ComposeAggregateTestCheckFunc(s.keeps(keys), s.armed),
		}},
	})
}

// armed waits until every log of the cluster would fail over.
func (s *site) armed(*terraform.State) error {
	s.eventually(10*time.Second, func() error {
		for name, n := range s.nodes() {
			for _, st := range n.Status.Engine.Stores.Stores {
				if f := st.Failover; f.Off != "" || len(f.Sides) != 1 || !f.Sides[0].Armed || !f.Sides[0].Healthy {
					return fmt.Errorf("node %s: %+v", name, f)
				}
			}
		}
		return nil
	})
	return nil
}

// freeze makes a node's first data disk hang until the function that it returns is
// called, or the test ends. It freezes a loop device of this test and nothing else.
func (s *site) freeze(node string) (thaw func()) {
	s.t.Helper()
	st := s.status(node).Stores[0]
	if !strings.HasPrefix(st.Mountpoint, s.dir+"/") || !strings.HasPrefix(st.Device, "/dev/loop") {
		s.t.Fatalf("%s is no disk of this test: %s at %s", st.Path, st.Device, st.Mountpoint)
	}
	// No descriptor stays open: it would keep a destroy from unmounting.
	call := func(request uint) error {
		f, err := os.Open(st.Mountpoint)
		if err != nil {
			return err
		}
		return errors.Join(unix.IoctlSetInt(int(f.Fd()), request, 0), f.Close())
	}
	const fiFreeze, fiThaw = 0xc0045877, 0xc0045878 // linux/fs.h, on amd64 and arm64
	if err := call(fiFreeze); err != nil {
		s.t.Fatalf("freeze %s: %v", st.Mountpoint, err)
	}
	thaw = sync.OnceFunc(func() {
		err := call(fiThaw)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, os.ErrNotExist) { // a destroy thaws, too
			s.t.Errorf("thaw %s: %v", st.Mountpoint, err)
		}
	})
	s.t.Cleanup(thaw)
	return thaw
}
