// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
)

const (
	settingThreshold = "storage.wal_failover.unhealthy_op_threshold"
	settingMaxSync   = "storage.max_sync_duration"
)

// setting is a cluster setting as the engine knows it. The provider does not link
// the engine; a test compares this table with the engine's own.
type setting struct {
	name     string
	fallback string // the default
	failover string // the default where the log may fail over
	min, max time.Duration
	help     string
}

var settings = []setting{
	{settingMaxSync, "20s", "40s", 100 * time.Millisecond, time.Hour, "how long one sync may take before the engine gives the disk up and ends itself"},
	{settingThreshold, "100ms", "100ms", time.Millisecond, 2 * time.Hour, "how long a disk operation may take before the log fails over"},
}

// settingsList is for the documentation: sentences, because an attribute is an
// item of a list there, which a table would end.
func settingsList() string {
	var all []string
	for _, s := range settings {
		fallback := "default " + s.fallback
		if s.failover != s.fallback {
			fallback += ", with failover on " + s.failover
		}
		all = append(all, fmt.Sprintf("`%s`: %s (%s; %s to %s).", s.name, s.help, fallback, brief(s.min), brief(s.max)))
	}
	return strings.Join(all, " ")
}

// brief is a duration without the zeros that Go writes behind it.
func brief(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

// checkSetting returns what is wrong with one setting.
func checkSetting(name, value string) *diags.Problem {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
	if i < 0 {
		var known []string
		for _, s := range settings {
			known = append(known, s.name)
		}
		return &diags.Problem{What: "Unknown setting", Why: fmt.Sprintf("settings[%q]: the engine has no such setting", name),
			Next: "The settings are " + strings.Join(known, " and ") + "."}
	}
	s := settings[i]
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return &diags.Problem{What: "Invalid setting", Why: fmt.Sprintf("settings[%q] = %q: this is not a duration", name, value),
			Next: fmt.Sprintf("Write a number and a unit: %s.", s.fallback)}
	case d < s.min || d > s.max:
		return &diags.Problem{What: "Invalid setting", Why: fmt.Sprintf("settings[%q] = %q: out of bounds", name, value),
			Next: fmt.Sprintf("Choose a value from %v to %v.", s.min, s.max)}
	}
	return nil
}

// thresholdAboveSync warns where the settings turn failover off although a mode
// turns it on. Defaults count too.
func thresholdAboveSync(set map[string]string, mode string) *diags.Problem {
	if mode == modeDisabled {
		return nil
	}
	value := func(name string) (string, time.Duration) {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		v := settings[i].failover
		if own, ok := set[name]; ok {
			v = own
		}
		d, err := time.ParseDuration(v)
		if err != nil {
			return v, -1
		}
		return v, d
	}
	threshold, t := value(settingThreshold)
	maxSync, m := value(settingMaxSync)
	if t < 0 || m < 0 || t <= m {
		return nil
	}
	return &diags.Problem{
		At:   "settings",
		What: "These settings turn failover off",
		Why: fmt.Sprintf("%s is %s, above %s, which is %s: no log fails over, although wal_failover.mode is %q",
			settingThreshold, threshold, settingMaxSync, maxSync, mode),
		Next: "This is the way to turn failover off and on while the engines run. Set the threshold below the other to have it on.",
	}
}

type settingsValidator struct{}

func (settingsValidator) Description(context.Context) string {
	return "settings that the engine knows, with values that parse"
}
func (v settingsValidator) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (settingsValidator) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	elements := req.ConfigValue.Elements()
	for _, name := range slices.Sorted(maps.Keys(elements)) {
		v, ok := elements[name].(types.String)
		switch {
		case !ok || v.IsUnknown():
			continue
		case v.IsNull():
			resp.Diagnostics.AddAttributeError(req.Path.AtMapKey(name), "Invalid setting",
				fmt.Sprintf("settings[%q] is null.\n\nLeave it out of the map for its default.", name))
			continue
		}
		if p := checkSetting(name, v.ValueString()); p != nil {
			resp.Diagnostics.AddAttributeError(req.Path.AtMapKey(name), p.What, p.Text())
		}
	}
}
