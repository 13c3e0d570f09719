// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"os"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/terraform"
)

// TestPlanRefuses: what cannot be made is an error of the plan, which says what is wrong and what to do, and asks for
// nothing to be made.
func TestPlanRefuses(t *testing.T) {
	if os.Getenv(projectVariable) != "" {
		t.Skip("an emulated project is made wrong for it")
	}
	const token = "of-somebody-else"
	for _, tc := range []struct {
		name    string
		project emulator.Config
		before  func(*cloud)
		vars    map[string]string
		words   []string
	}{
		{name: "no credentials", project: emulator.Config{Token: token}, words: []string{"the credentials are missing or not accepted", "gcloud auth application-default login"}},
		{name: "wrong credentials", before: func(c *cloud) { c.tf.Env = append(c.tf.Env, "GOOGLE_CREDENTIALS="+token) }, words: []string{"GOOGLE_CREDENTIALS", "a service account's key"}},
		{name: "no such file", before: func(c *cloud) { c.tf.Env = append(c.tf.Env, "GOOGLE_CREDENTIALS=/nowhere.json") }, words: []string{"GOOGLE_CREDENTIALS", "no such file", "or its file"}},
		{name: "API disabled", before: func(c *cloud) { c.server.Inject(emulator.Fault{HTTP: emulator.AccessNotConfigured(c.project)}) },
			words: []string{"the API is not enabled in the project", "gcloud services enable compute.googleapis.com"}},
		{name: "project", vars: map[string]string{"project": "nobodys-own"}, words: []string{"nobodys-own", "does not exist"}},
		{name: "zone", vars: map[string]string{"zones": `{ a = "us-east9-a" }`}, words: []string{"zone us-east9-a of node a", "gcloud compute zones list"}},
		{name: "machine type", vars: map[string]string{"machine_type": "n2-standard-5"}, words: []string{"n2-standard-5", "us-east4-a", "Use another one, or another zone"}},
		{name: "IOPS of a type that takes none", vars: map[string]string{"data": `{ type = "pd-ssd", size_gb = 100, iops = 3000 }`}, words: []string{"iops 3000", "pd-ssd", "use a Hyperdisk type"}},
		{name: "IOPS", vars: map[string]string{"machine_type": "n4-standard-4", "data": `{ type = "hyperdisk-balanced", size_gb = 10, iops = 90000 }`}, words: []string{"90000", "hyperdisk-balanced of 10 GB takes from 3000 to 5000 IOPS"}},
		{name: "local SSD", vars: map[string]string{"data": `{ type = "local-ssd", size_gb = 375 }`}, words: []string{"a local SSD is blank after its machine was stopped"}},
		{name: "network of another project", vars: map[string]string{"network": "projects/host-project/global/networks/shared"}, words: []string{"projects/host-project/global/networks/shared", "Use one of the machines' project"}},
		{name: "image", vars: map[string]string{"image": "projects/debian-cloud/global/images/family/debian-99"}, words: []string{"debian-99", "does not exist"}},
		{name: "image without UEFI", project: emulator.Config{Images: []emulator.PublicImage{{Project: "old", Name: "bios", SizeGB: 10, Architecture: "X86_64"}}},
			vars: map[string]string{"image": "projects/old/global/images/bios"}, words: []string{"projects/old/global/images/bios", "UEFI", "Use another image"}},
		{name: "quota", project: emulator.Config{Quota: map[string]float64{"N2_CPUS": 3}}, words: []string{"N2_CPUS", "https://console.cloud.google.com/iam-admin/quotas"}},
		{name: "side disk", before: func(c *cloud) {
			c.tf.File(t, "small_override.tf", "resource \"holdfast_cluster\" \"this\" {\n  side_disk = { type = \"pd-standard\", size_gb = 25 }\n}\n")
		}, words: []string{"side", "pd-standard", "a tenth"}},
		{name: "name", before: func(c *cloud) {
			c.done(c.disks.Insert(t.Context(), &computepb.InsertDiskRequest{Project: c.project, Zone: c.zones["a"],
				DiskResource: &computepb.Disk{Name: new(c.name + "-a-data-1"), SizeGb: new(int64(10))}}))
		}, words: []string{"-a-data-1", "the name is taken", "It was not touched"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(t, records(tc.project))
			for name, value := range tc.vars {
				c.configure(name, value)
			}
			if tc.before != nil {
				tc.before(c)
			}
			before := c.mutations()
			code, out := c.tf.Run(t, "plan", "-input=false")
			plain := terraform.Unwrap(out)
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
			for _, w := range tc.words {
				if !strings.Contains(plain, w) {
					t.Errorf("it does not say %q", w)
				}
			}
			if t.Failed() || testing.Verbose() {
				t.Log(terraform.Tail(out, 40))
			}
			if strings.Contains(out, token) {
				t.Error("the credentials are in what it says")
			}
			if after := c.mutations(); after != before {
				t.Errorf("%d calls that change something", after-before)
			}
		})
	}
}

// mutations is how many calls wanted to change something.
func (c *cloud) mutations() (n int) {
	for _, call := range c.server.Calls() {
		if call.Operation != "" {
			n++
		}
	}
	return n
}
