// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

// TestEveryDiskHangs: the package's part of point 10. Both disks hang: a leader's append ends with ErrStalled
// and leaves nothing, what a follower does waits; the log says for how long. The side
// comes back first and takes what waits; then the primary, to which the append that
// was taken back may have landed.
//
// Seen to fail with an append that is given up and not taken back.
func TestEveryDiskHangs(t *testing.T) {
	for _, moment := range []vfstest.Moment{vfstest.Before, vfstest.After} {
		var leader bool
		inBubble(t, func(t *testing.T, m *machine) {
			m.append(1, 1, "a")
			leader = true
			data, side := m.stall.Hang(onData, moment), m.stall.Hang(onSide, moment)
			begin := time.Now()
			if err := m.try(2, 1, "lost"); !errors.Is(err, ErrStalled) {
				t.Fatalf("%v, want ErrStalled", err)
			}
			if took := time.Since(begin); took > 5*DefaultThreshold {
				t.Errorf("it took %v", took)
			}
			m.wantLog("1:a")
			time.Sleep(time.Second)
			if d := m.log.Stalled(); d < time.Second {
				t.Errorf("stalled for %v, though every disk hangs", d)
			}
			leader = false
			done := make(chan error, 1) // one, by the follower's append
			go func() { done <- m.try(2, 2, "b") }()
			time.Sleep(1015 * time.Millisecond) // not when wait looks by itself
			begin = time.Now()
			side.Release()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took > watchEvery+3*sideSync {
				t.Errorf("the side is back, and the append took %v more", took)
			}
			if d := m.log.Stalled(); d > 2*sideSync {
				t.Errorf("stalled for %v, though the side is back", d)
			}
			data.Release()
			m.until("failback", healthy)
			m.wantLog("1:a", "2:b")
			m.restart(vfstest.LoseAll())
			m.wantLog("1:a", "2:b")
		}, func(c *Config) { c.Leader = func() bool { return leader } })
	}
}

// TestWithoutFailover: with no side, and with the threshold above MaxSync, there is no hedge, no
// switch and no ErrStalled; MaxSync holds, also for what nobody was late for.
//
// Seen to fail with ErrStalled returned without a side.
func TestWithoutFailover(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no side":    func(c *Config) { c.Side = nil },
		"turned off": func(c *Config) { c.Threshold = c.MaxSync + time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, m *machine) {
				m.append(1, 1, "a")
				hang := m.stall.Hang(onData, vfstest.Before)
				done := make(chan error, 1) // one, by the append
				go func() { done <- m.try(2, 1, "b") }()
				time.Sleep(10 * time.Second)
				s := m.log.Status()
				if len(done) > 0 || s.Switches != 0 || s.Hedges != 0 || s.EpochOpen || s.Off == "" || s.Stalled != 10*time.Second {
					t.Errorf("%+v", s)
				}
				hang.Release()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				m.stall.Hang(onData, vfstest.Before)
				go func() { _ = m.log.submit(&op{kind: opTruncate, index: 2, done: make(chan error, 1)}, false) }()
				time.Sleep(31 * time.Second)
				select {
				case err := <-m.fatal:
					if !errors.Is(err, ErrHung) {
						t.Error(err)
					}
					t.Log(err)
				default:
					t.Error("MaxSync has passed without Fatal")
				}
			}, func(c *Config) { c.MaxSync = 30 * time.Second; c.Leader = func() bool { return true }; change(c) })
		})
	}
}

// TestLimitsAtRunTime: failover is turned off while failed over, and on while everybody waits.
//
// Seen to fail with SetLimits leaving the open epoch open.
func TestLimitsAtRunTime(t *testing.T) {
	inBubble(t, func(t *testing.T, m *machine) {
		m.append(1, 1, "a")
		hang := m.stall.Hang(onData, vfstest.Before)
		m.append(2, 1, "b")
		m.until("the switch", failedOver)
		m.log.SetLimits(time.Hour, 0)
		done := make(chan error, 1) // one, by the append
		go func() { done <- m.try(3, 1, "c") }()
		time.Sleep(5 * time.Second)
		if s := m.log.Status(); len(done) > 0 || s.Off == "" {
			t.Errorf("turned off, and yet: %+v", s)
		}
		m.log.SetLimits(DefaultThreshold, 0)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		m.log.SetLimits(time.Hour, 0)
		hang.Release()
		m.until("the primary", func(s Status) bool { return s.Active == "primary" && !s.EpochOpen })
		if s := m.log.Status(); s.LastReason != "failover was turned off" {
			t.Errorf("%+v", s)
		}
		m.append(4, 1, "d")
		m.restart(vfstest.LoseAll())
		m.wantLog("1:a", "2:b", "3:c", "4:d")
	})
}

// TestPrimaryFailsForever: errors that do not end are a failover after the threshold, and after MaxSync the end.
//
// Seen to fail with each attempt starting the clock anew.
func TestPrimaryFailsForever(t *testing.T) {
	inBubble(t, func(t *testing.T, m *machine) {
		m.append(1, 1, "a")
		m.faults.Add(vfstest.Fault{Match: vfstest.Match{Kind: vfstest.Write, Under: walDir}, Err: syscall.EIO})
		m.append(2, 1, "b")
		m.until("the switch", failedOver)
		s := m.log.Status()
		t.Log(s.LastReason)
		if s.PrimaryErr == "" || s.Hung == 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(DefaultMaxSync)
		select {
		case err := <-m.fatal:
			if !errors.Is(err, ErrHung) || !errors.Is(err, syscall.EIO) {
				t.Error(err)
			}
		default:
			t.Error("MaxSync has passed without Fatal")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.log.Close(ctx); err == nil {
			t.Error("Close says that all is well")
		}
		if err := m.side.Close(t.Context()); err != nil {
			t.Error(err)
		}
		m.log = nil
	})
}
