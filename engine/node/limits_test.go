// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

func TestLimitsOf(t *testing.T) {
	with := func(mode string, env time.Duration) map[string]string {
		c := Config{Failover: Failover{Mode: mode}, MaxSyncDefault: env}
		return c.defaults()
	}
	for name, tc := range map[string]struct {
		set, defaults map[string]string
		want          limits
		off           bool
	}{
		"nobody set anything":  {nil, with(FailoverSideDisk, 0), limits{100 * time.Millisecond, 40 * time.Second}, false},
		"without failover":     {nil, with(FailoverDisabled, 0), limits{100 * time.Millisecond, 20 * time.Second}, false},
		"from the environment": {nil, with(FailoverSideDisk, time.Minute), limits{100 * time.Millisecond, time.Minute}, false},
		"a setting goes before the environment": {map[string]string{kv.SettingMaxSyncDuration: "30s"}, with(FailoverSideDisk, time.Minute),
			limits{100 * time.Millisecond, 30 * time.Second}, false},
		"turned off": {map[string]string{kv.SettingUnhealthyOpThreshold: "41s"}, with(FailoverSideDisk, 0), limits{41 * time.Second, 40 * time.Second}, true},
		"a cache of another version": {map[string]string{kv.SettingMaxSyncDuration: "never", "storage.unknown": "1"}, with(FailoverSideDisk, 0),
			limits{100 * time.Millisecond, 40 * time.Second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := limitsOf(tc.set, tc.defaults)
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(limits{})); d != "" {
				t.Error(d)
			}
			if got.off() != tc.off {
				t.Errorf("off: %v", got.off())
			}
		})
	}
}
