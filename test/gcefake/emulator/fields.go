// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// rfc1035 is what most names must be.
var rfc1035 = regexp.MustCompile(`^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?$`)

var (
	labelKey   = regexp.MustCompile(`^\p{Ll}[\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// checkLabels holds labels to "Labels overview" of Google's documentation.
func checkLabels(field string, labels map[string]string) error {
	if len(labels) > 64 {
		return invalid(field, fmt.Sprint(len(labels)), "At most 64 labels are allowed.")
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if !labelKey.MatchString(key) {
			return invalid(field, key, "A key has 1 to 63 lowercase letters, digits, underscores and dashes, and begins with a letter.")
		}
		if !labelValue.MatchString(labels[key]) {
			return invalid(field, labels[key], "A value has at most 63 lowercase letters, digits, underscores and dashes.")
		}
	}
	return nil
}

// checkMetadata holds metadata to the limits that its schema describes.
func checkMetadata(m *computepb.Metadata) error {
	total, seen := 0, map[string]bool{}
	for _, item := range m.GetItems() {
		total += len(item.GetKey()) + len(item.GetValue())
		switch {
		case item.GetKey() == "":
			return required("resource.metadata.items.key")
		case seen[item.GetKey()]:
			return invalid("resource.metadata.items.key", item.GetKey(), "Metadata has duplicate key.")
		case len(item.GetValue()) > 256<<10:
			return invalid("resource.metadata.items.value", item.GetKey(), "Value is too large: at most 262144 bytes.")
		}
		seen[item.GetKey()] = true
	}
	if total > 512<<10 {
		return invalid("resource.metadata", fmt.Sprint(total), "Metadata is too large: at most 524288 bytes.")
	}
	return nil
}

// checkTags holds network tags to the rules of names.
func checkTags(tags []string) error {
	if len(tags) > 64 {
		return invalid("resource.tags", fmt.Sprint(len(tags)), "At most 64 tags are allowed.")
	}
	for i, tag := range tags {
		if !rfc1035.MatchString(tag) {
			return invalid("resource.tags.items", tag, "Must be a match of regex '%s'.", rfc1035)
		}
		if slices.Contains(tags[:i], tag) {
			return invalid("resource.tags.items", tag, "Duplicate tags are not allowed.")
		}
	}
	return nil
}

// checkFingerprint refuses a change that was decided on what is no longer there.
func checkFingerprint(what, given, current string) error {
	if given == "" || given != current {
		return conditionNotMet("Supplied fingerprint does not match current %s fingerprint.", what)
	}
	return nil
}

// fingerprint is one over the parts.
func fingerprint(parts ...string) string {
	return hash([]byte(strings.Join(parts, "\x00")))
}

func labelFingerprint(labels map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key, labels[key])
	}
	return fingerprint(append(parts, "labels")...)
}

func metadataFingerprint(m *computepb.Metadata) string {
	parts := []string{"metadata"}
	for _, item := range m.GetItems() {
		parts = append(parts, item.GetKey(), item.GetValue())
	}
	return fingerprint(parts...)
}

func tagFingerprint(tags []string) string { return fingerprint(append([]string{"tags"}, tags...)...) }

// lastPart is the name at the end of a link.
func lastPart(link string) string { return link[strings.LastIndexByte(link, '/')+1:] }
