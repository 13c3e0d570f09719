// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/verify"
)

// TestVerifiedThroughAFailover: package verify above the log, entries journaled,
// cut off and written again while the primary hangs. Nothing is compared before
// the primary has it; then all of it is, without a false alarm, and a bit that
// was damaged on its way to the primary is found. Seen to fail with Settled
// always true: the damage goes unseen, since memory is compared with itself.
func TestVerifiedThroughAFailover(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		t.Run(fmt.Sprintf("damaged=%v", damaged), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close()
				v := verify.New(r.log, verify.Options{})
				defer func() {
					if err := v.Close(); err != nil {
						t.Error(err)
					}
				}()
				write := func(l raft.Log) {
					t.Helper()
					if err := v.StoreLog(&l); err != nil {
						t.Fatal(err)
					}
				}
				checkpoint := func(index, term uint64) {
					t.Helper()
					l := v.Checkpoint(nil)
					l.Index, l.Term = index, term
					write(l)
				}
				write(*entry(2, 1, "a"))
				r.primary.hang(false)
				write(*entry(3, 1, "b"))
				write(*entry(4, 1, "c"))
				checkpoint(5, 1)
				synctest.Wait() // the reader has the range before the next one comes
				if err := v.DeleteRange(4, 5); err != nil {
					t.Fatal(err)
				}
				write(*entry(4, 2, "C"))
				write(*entry(5, 2, "D"))
				checkpoint(6, 2)
				time.Sleep(5*time.Second + 50*time.Millisecond) // of the bubble; between two looks of the reader
				if s := v.Status(); s.Last != nil {
					t.Errorf("the primary hangs, and a report says %+v", *s.Last)
				}
				if s := r.log.Status(); s.Active != "secondary" {
					t.Errorf("it did not fail over: %+v", s)
				}
				r.primary.thaw()
				r.until("the primary to catch up", func(s Status) bool { return s.Pending == 0 })
				if damaged {
					r.primary.mu.Lock()
					r.primary.logs[5] = entry(5, 2, "E")
					r.primary.mu.Unlock()
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				s, want := v.Status(), verify.OK
				if damaged {
					want = verify.Storage
				}
				if s.Last == nil || s.Last.Result != want || s.Last.Start != 2 || s.Last.End != 6 || damaged && s.Last.Entry != 5 {
					t.Errorf("the report is %+v, counters %+v", s.Last, s.Counters)
				}
			})
		})
	}
}
