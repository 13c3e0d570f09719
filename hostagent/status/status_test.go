// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package status

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Bounded
		hang := make(chan struct{}) // closed when the disk answers again
		var calls atomic.Int32
		slow := func() error { calls.Add(1); <-hang; return nil }
		for range 3 {
			began := time.Now()
			if err := b.Do("/data", time.Second, slow); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("a hung disk: %v", err)
			}
			if d := time.Since(began); d != time.Second {
				t.Errorf("it took %v", d)
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls hang, one is allowed", n)
		}
		if err := b.Do("/other", time.Second, func() error { return nil }); err != nil {
			t.Errorf("another disk: %v", err)
		}
		close(hang)
		synctest.Wait()
		if err := b.Do("/data", time.Second, func() error { return os.ErrInvalid }); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("after the hang: %v", err)
		}
	})
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	hang := make(chan struct{}) // closed when the disk answers again
	hung := false
	d := &Dirs{Bound: 50 * time.Millisecond, Contents: func(string) (string, string, error) {
		if hung {
			<-hang
		}
		return "id", "wal", nil
	}}
	missing := filepath.Join(dir, "missing")
	got, errs := d.Look([]string{dir, missing})
	if errs[0] != nil || !errors.Is(errs[1], os.ErrNotExist) {
		t.Fatal(errs)
	}
	st := got[0]
	if st.ID != "id" || st.Backend != "wal" || st.Mountpoint == "" || st.MajMin == "" || st.SizeBytes <= 0 || st.FreeBytes > st.SizeBytes {
		t.Errorf("%+v", st)
	}
	if got[1].Path != missing || got[1].Mountpoint == "" {
		t.Errorf("missing: %+v", got[1])
	}
	d.Bound, hung = 10*time.Millisecond, true
	again, errs := d.Look([]string{dir})
	if !errors.Is(errs[0], ErrNoAnswer) || again[0] != st {
		t.Errorf("a hung disk: %v %+v", errs[0], again[0])
	}
	close(hang)
}
