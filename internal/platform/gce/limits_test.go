// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

func TestSpeed(t *testing.T) {
	for _, tc := range []struct {
		kind    DiskKind
		gb      int64
		machine string
		want    speed
	}{
		{DiskKind{Type: "pd-standard"}, 500, "", speed{750, 60}},
		{DiskKind{Type: "pd-balanced"}, 100, "", speed{3600, 168}},
		{DiskKind{Type: "pd-ssd"}, 100, "", speed{9000, 288}},
		{DiskKind{Type: "pd-ssd"}, 10000, "", speed{100000, 1200}},
		// The machine is the limit, where its tables are known.
		{DiskKind{Type: "pd-ssd"}, 10000, "n2-standard-4", speed{15000, 240}},
		{DiskKind{Type: "pd-balanced"}, 10000, "c3-standard-22", speed{20000, 1200}},
		{DiskKind{Type: "pd-ssd"}, 10000, "e2-medium", speed{100000, 1200}},
		{DiskKind{Type: "hyperdisk-balanced"}, 100, "", speed{3600, 290}},
		{DiskKind{Type: "hyperdisk-balanced"}, 4, "", speed{2000, 146}},
		{DiskKind{Type: "hyperdisk-balanced", IOPS: 3000, ThroughputMiBs: 140}, 100, "", speed{3000, 140}},
		{DiskKind{Type: "hyperdisk-balanced", IOPS: 50000, ThroughputMiBs: 1000}, 200, "c3-standard-4", speed{25000, 400}},
		{DiskKind{Type: "hyperdisk-balanced", IOPS: 50000, ThroughputMiBs: 1000}, 200, "c3-standard-8-lssd", speed{50000, 800}},
		{DiskKind{Type: "pd-extreme", IOPS: 5000}, 500, "", speed{5000, 0}},
		{DiskKind{Type: "hyperdisk-throughput"}, 2048, "", speed{0, 180}},
	} {
		if got := tc.kind.speed(tc.gb, tc.machine); got != tc.want {
			t.Errorf("%s on %q: %+v, want %+v", tc.kind.describe(tc.gb), tc.machine, got, tc.want)
		}
	}
}

func TestCheckDisk(t *testing.T) {
	hdb := func(iops, throughput int64) DiskKind {
		return DiskKind{Type: "hyperdisk-balanced", IOPS: iops, ThroughputMiBs: throughput}
	}
	for _, tc := range []struct {
		kind DiskKind
		gb   int64
		want error
	}{
		{DiskKind{Type: "pd-ssd"}, 10, nil},
		{DiskKind{Type: "pd-ssd"}, 9, errSize},
		{DiskKind{Type: "pd-ssd"}, 64*tib + 1, errSize},
		{DiskKind{Type: "pd-ssd", IOPS: 3000}, 100, errUnasked},
		{DiskKind{Type: "pd-balanced", ThroughputMiBs: 140}, 100, errUnasked},
		{DiskKind{Type: "pd-extreme", ThroughputMiBs: 140}, 500, errUnasked},
		{DiskKind{Type: "pd-extreme", IOPS: 2499}, 500, errProvision},
		{DiskKind{Type: "pd-extreme", IOPS: 2500}, 500, nil},
		{hdb(0, 0), 4, nil},
		{hdb(3000, 140), 100, nil},
		{hdb(2999, 0), 100, errProvision},
		{hdb(2000, 140), 4, nil}, // 500 per GB is less than 3000 there
		{hdb(2001, 0), 4, errProvision},
		{hdb(50000, 0), 100, nil},
		{hdb(50001, 0), 100, errProvision},
		{hdb(160000, 2400), 400, nil},
		{hdb(3000, 750), 100, nil},
		{hdb(3000, 751), 100, errProvision},  // a quarter of the IOPS
		{hdb(50000, 195), 100, errProvision}, // one in 256
		{DiskKind{Type: "hyperdisk-throughput", ThroughputMiBs: 181}, 2048, errProvision},
		{DiskKind{Type: "hyperdisk-throughput", IOPS: 100}, 2048, errUnasked},
		{DiskKind{Type: "local-ssd"}, 375, errLocal},
		{DiskKind{Type: "pd-sdd"}, 100, errType},
	} {
		if err := tc.kind.checkDisk("stores[0].disk", tc.gb); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.kind.describe(tc.gb), err, tc.want)
		}
	}
}

// The side disk has 25 GiB, and a tenth of what the data disk really does.
func TestCheckSide(t *testing.T) {
	for _, tc := range []struct {
		name    string
		side    DiskKind
		sideGB  int64
		data    DiskKind
		dataGB  int64
		machine string
		want    error
		next    string
	}{
		{"small", DiskKind{Type: "pd-ssd"}, 24, DiskKind{Type: "pd-ssd"}, 100, "n2-standard-4", errSideSmall, "Make it 25 GB or larger."},
		{"enough", DiskKind{Type: "pd-ssd"}, 25, DiskKind{Type: "pd-ssd"}, 1000, "", nil, ""},
		{"slow", DiskKind{Type: "pd-balanced"}, 25, DiskKind{Type: "pd-ssd"}, 2000, "", errSideSlow,
			"The data disk does 66000 on a : 6600 are needed. Provision them, or use a faster type or more gigabytes."},
		// The machine does not let the data disk be that fast.
		{"slow, and so is the machine", DiskKind{Type: "pd-balanced"}, 25, DiskKind{Type: "pd-ssd"}, 2000, "n2-standard-4", nil, ""},
		{"the default", DiskKind{Type: "hyperdisk-balanced"}, 25, DiskKind{Type: "hyperdisk-balanced", IOPS: 30000, ThroughputMiBs: 1400}, 100, "", nil, ""},
		{"too many IOPS", DiskKind{Type: "hyperdisk-balanced", IOPS: 3000, ThroughputMiBs: 140}, 25, DiskKind{Type: "hyperdisk-balanced", IOPS: 30010, ThroughputMiBs: 140}, 100, "", errSideSlow,
			"The data disk does 30010 on a : 3001 are needed. Provision them, or use a faster type or more gigabytes."},
		{"too much throughput", DiskKind{Type: "hyperdisk-balanced", IOPS: 3000, ThroughputMiBs: 140}, 25, DiskKind{Type: "hyperdisk-balanced", IOPS: 6000, ThroughputMiBs: 1401}, 100, "", errSideSlow,
			"The data disk does 1401 on a : 141 are needed. Provision them, or use a faster type or more gigabytes."},
	} {
		err := checkSide(tc.side, tc.sideGB, tc.data, tc.dataGB, tc.machine)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if e, ok := errors.AsType[*platform.Error](err); ok && e.Next != tc.next {
			t.Errorf("%s: %s", tc.name, cmp.Diff(tc.next, e.Next))
		}
	}
}

// What is not a name of Google's is told before anybody is asked, and all of it at once.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   []error
	}{
		{"good", func(*Config) {}, nil},
		{"upper case", func(c *Config) { c.Cluster = "Orders" }, []error{errName}},
		{"several", func(c *Config) { c.Cluster, c.User, c.PublicKey = "1x", "a b", "x" }, []error{errName, errKey}},
		{"zone", func(c *Config) { c.Nodes["a"] = Node{Zone: "us-east4"} }, []error{errZone}},
		{"image", func(c *Config) { c.Image = "debian-12" }, []error{errPath}},
		{"network", func(c *Config) { c.Network = "" }, []error{errEmpty}},
		{"subnetworks", func(c *Config) { c.Network = ""; c.Nodes = map[string]Node{"a": {Zone: "us-east4-a", Subnetwork: "s"}} }, nil},
		{"range", func(c *Config) { c.SSHRanges = []string{"10.0.0.1/8"} }, []error{errRange}},
		{"label", func(c *Config) { c.Labels = map[string]string{"Team": "x"} }, []error{errLabel}},
		{"reserved label", func(c *Config) { c.Labels = map[string]string{"holdfast-node": "x"} }, []error{errReserved}},
		{"account", func(c *Config) { c.ServiceAccount, c.ByServiceAccount = "", true }, []error{errNoAccount}},
		{"a node's name like another's disk", func(c *Config) { c.Nodes["a-data-1"] = Node{Zone: "us-east4-a"} }, []error{errSameName}},
		{"no nodes", func(c *Config) { c.Nodes = nil }, []error{errNoNodes}},
	} {
		cfg := testConfig()
		tc.change(&cfg)
		_, err := New(cfg)
		if (err == nil) != (len(tc.want) == 0) {
			t.Errorf("%s: %v", tc.name, err)
		}
		for _, want := range tc.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", tc.name, err, want)
			}
		}
	}
}

// Names are stable, fit, and differ where what they are made of does.
func TestNames(t *testing.T) {
	long := "a-name-that-is-much-longer-than-there-is-room-for-in-a-name-on"
	seen := map[string]bool{}
	for _, node := range []string{"a", "b", long, long + "2"} {
		for _, cluster := range []string{"orders", long} {
			for _, role := range []string{bootRole, sideRole, dataRole(0), dataRole(998)} {
				name := diskName(cluster, node, role)
				if len(name) > maxName || !nameRE.MatchString(name) || seen[name] {
					t.Errorf("disk %q of %s/%s", name, cluster, node)
				}
				seen[name] = true
			}
		}
	}
	for name, want := range map[string]string{
		diskName("orders", "a", sideRole): "orders-a-side",
		tagOf("orders"):                   "holdfast-orders",
		instanceName("orders", long):      "orders-a-name-that-is-much-longer-than-there-df19f36d",
	} {
		if name != want {
			t.Errorf("%s, want %s: clusters that exist are not found by another name", name, want)
		}
	}
}
