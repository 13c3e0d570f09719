// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// TestSettingsAreTheEngines compares the provider's table with the engine's own.
func TestSettingsAreTheEngines(t *testing.T) {
	var engine, own []string
	for _, s := range kv.KnownSettings() {
		if s.Kind != kv.KindDuration {
			t.Errorf("%s is a %s, which the provider does not check", s.Name, s.Kind)
		}
		engine = append(engine, s.Name, s.Default(false), s.Default(true), s.Min.String(), s.Max.String())
	}
	for _, s := range settings {
		own = append(own, s.name, s.fallback, s.failover, s.min.String(), s.max.String())
	}
	if diff := cmp.Diff(engine, own); diff != "" {
		t.Error(diff)
	}
}

// FuzzCheckSetting: the provider takes what the engine takes, and nothing else.
func FuzzCheckSetting(f *testing.F) {
	f.Add(settingMaxSync, "20s")
	f.Add(settingMaxSync, "99ms")
	f.Add(settingThreshold, "1m0.000000001s")
	f.Add(settingThreshold, "-1s")
	f.Add("storage", "1s")
	f.Fuzz(func(t *testing.T, name, value string) {
		_, err := kv.ParseSetting(name, value)
		if p := checkSetting(name, value); (p == nil) != (err == nil) {
			t.Errorf("%s = %q: the provider says %v, the engine %v", name, value, p, err)
		}
	})
}
