// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrUnknownSetting: a name that is not in the table.
var ErrUnknownSetting = errors.New("unknown setting")

// Settings are the cluster settings that somebody set; they live in the
// partition "default". Immutable: a change makes a new one.
type Settings struct {
	// Set holds the values as they were written. Never write to it.
	Set map[string]string
	// Index of the last change, 0 if there was none.
	Index uint64
}

// Effective is the value in force of every setting: what was set, else what
// defaults says.
func (s Settings) Effective(defaults map[string]string) map[string]string {
	all := maps.Clone(defaults)
	maps.Copy(all, s.Set)
	return all
}

// change returns the settings after a change at index, or why not any of it.
func (s Settings) change(changes map[string]*string, index uint64) (Settings, error) {
	next := Settings{Set: maps.Clone(s.Set), Index: index}
	if next.Set == nil {
		next.Set = make(map[string]string)
	}
	// In order, so that of several mistakes every replica reports the same.
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		v := changes[name]
		if v == nil {
			if _, ok := lookupSetting(name); !ok {
				return Settings{}, unknownSetting(name)
			}
			delete(next.Set, name)
			continue
		}
		if _, err := ParseSetting(name, *v); err != nil {
			return Settings{}, err
		}
		next.Set[name] = *v
	}
	return next, nil
}

// ParseSetting checks a value against the table and returns it. The error
// says what would do; it wraps ErrUnknownSetting where the name is at fault.
func ParseSetting(name, value string) (time.Duration, error) {
	s, ok := lookupSetting(name)
	if !ok {
		return 0, unknownSetting(name)
	}
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return 0, fmt.Errorf("setting %q: %q is not a duration: write a number and a unit, such as %q", name, value, s.Default(false))
	case d < s.Min || d > s.Max:
		return 0, fmt.Errorf("setting %q: %s is out of bounds: choose a value from %v to %v", name, value, s.Min, s.Max)
	}
	return d, nil
}

// DefaultSettings are the defaults by name; some depend on whether the
// cluster's log may fail over.
func DefaultSettings(failover bool) map[string]string {
	m := make(map[string]string, len(settingsTable))
	for i := range settingsTable {
		m[settingsTable[i].Name] = settingsTable[i].Default(failover)
	}
	return m
}

// KnownSettings is the table, in order of name.
func KnownSettings() []Setting { return slices.Clone(settingsTable) }

func lookupSetting(name string) (Setting, bool) {
	i := slices.IndexFunc(settingsTable, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return settingsTable[i], true
}

func unknownSetting(name string) error {
	var known []string
	for i := range settingsTable {
		known = append(known, settingsTable[i].Name)
	}
	return fmt.Errorf("%w %q: the settings are %s", ErrUnknownSetting, name, strings.Join(known, ", "))
}
