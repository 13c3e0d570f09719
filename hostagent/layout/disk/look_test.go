// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// A machine that is busy is asked again; a disk that never answers is waited for as long
// as that, and what is said of it is not for certain.
func TestAskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &blockdev.Device{Path: "/dev/sdb", Size: 1}
		asked := 0
		roots := blockdev.Roots{Probe: func(context.Context, string) (blockdev.Properties, error) {
			if asked++; asked < 3 {
				return nil, fmt.Errorf("/dev/sdb: %w", blockdev.ErrHeld)
			}
			return blockdev.Properties{"ID_FS_TYPE": "xfs"}, nil
		}}
		if c := probe(t.Context(), roots, d); c.Err != "" || c.Signature.Type != "xfs" || asked != 3 {
			t.Errorf("%+v after %d", c, asked)
		}
		roots.Probe = func(context.Context, string) (blockdev.Properties, error) { return nil, blockdev.ErrHeld }
		began := time.Now()
		c := probe(t.Context(), roots, d)
		if took := time.Since(began); c.Err == "" || took < askFor || took > askFor+askAgain {
			t.Errorf("%+v after %v", c, took)
		}
		if r := untouchable(d, c); r == nil || !r.Unsure {
			t.Errorf("%+v", r)
		}
	})
}
