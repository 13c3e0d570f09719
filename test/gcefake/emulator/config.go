// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/discovery"
)

// Config says what project is emulated. The zero value is a usable one.
type Config struct {
	Project string   // holdfast-test
	Zones   []string // two in each of three regions; a region is there when a zone of it is

	// WithoutDefaultNetwork leaves out the network "default", with one
	// subnetwork in every region, that a new project has.
	WithoutDefaultNetwork bool
	// Quota overrides limits, by metric (CPUS, SSD_TOTAL_GB, NETWORKS). A limit
	// of a region holds in each of them.
	Quota map[string]float64
	// Images are there beside those that DefaultImages lists.
	Images []PublicImage
	// ServiceAccounts may be given to instances, beside the project's default one.
	ServiceAccounts []string
	// Token, when set, is the bearer token that every request must carry.
	Token string

	Delay   time.Duration // from an operation's acceptance until it is DONE
	Latency time.Duration // before every answer
	Clock   Clock         // the system's

	// OnCall, when set, is told of every call once it has been answered.
	OnCall func(Call)

	Machines Machines            // None
	Document *discovery.Document // discovery.Shared
}

// PublicImage is an image that exists from the beginning.
type PublicImage struct {
	Project, Name, Family string
	SizeGB                int64
	Architecture          string // X86_64
	// UEFI tells whether it boots by UEFI, which Shielded VMs need.
	UEFI bool
}

// DefaultImages exist in every emulated project.
func DefaultImages() []PublicImage {
	return []PublicImage{
		{"debian-cloud", "debian-12-bookworm-v20260210", "debian-12", 10, "X86_64", true},
		{"debian-cloud", "debian-13-trixie-v20260210", "debian-13", 10, "X86_64", true},
		{"debian-cloud", "debian-13-trixie-arm64-v20260210", "debian-13-arm64", 10, "ARM64", true},
		{"ubuntu-os-cloud", "ubuntu-2404-noble-amd64-v20260209", "ubuntu-2404-lts-amd64", 10, "X86_64", true},
	}
}

func defaults(c Config) (Config, error) {
	c.Project = cmp.Or(c.Project, "holdfast-test")
	if len(c.Zones) == 0 {
		c.Zones = []string{"us-east4-a", "us-east4-b", "us-central1-a", "us-central1-b", "us-west2-a", "us-west2-b"}
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.Machines == nil {
		c.Machines = None{}
	}
	if c.Document == nil {
		doc, err := discovery.Shared()
		if err != nil {
			return c, err
		}
		c.Document = doc
	}
	return c, validate(c)
}

var zoneName = regexp.MustCompile(`^[a-z]+-[a-z]+[0-9]+-[a-z]$`)

func validate(c Config) error {
	for i, z := range c.Zones {
		if !zoneName.MatchString(z) {
			return fmt.Errorf("zone %q: want a name like us-east4-a", z)
		}
		if slices.Contains(c.Zones[:i], z) {
			return fmt.Errorf("zone %q is named twice", z)
		}
	}
	if c.Delay < 0 || c.Latency < 0 {
		return fmt.Errorf("delay %s, latency %s: neither may be negative", c.Delay, c.Latency)
	}
	return nil
}

// regionOf is the region of a zone: us-east4 of us-east4-a.
func regionOf(zone string) string {
	if i := strings.LastIndexByte(zone, '-'); i >= 0 {
		return zone[:i]
	}
	return zone
}
