// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

var (
	testRecipe = Recipe{Name: "base", Source: debian, Family: "base", Steps: []agentapi.Step{{Name: "packages", Shell: &agentapi.ShellStep{Script: "true"}}}}
	testOven   = Oven{Zone: "us-east4-a", MachineType: "e2-medium", Network: "default", User: "ops"}
)

// baked stands for what goes on on the machine, which returns err.
func baked(err error) func(context.Context, ssh.Node, ssh.Access, ssh.Baking, func(string)) (string, error) {
	return func(context.Context, ssh.Node, ssh.Access, ssh.Baking, func(string)) (string, error) {
		return "b1a2", err
	}
}

// bakery is one whose machines are made by bake.
func (c *cloud) bakery(bake func(context.Context, ssh.Node, ssh.Access, ssh.Baking, func(string)) (string, error)) *Bakery {
	c.t.Helper()
	b := c.open().Bakery()
	b.bake = bake
	return b
}

func (c *cloud) bake() Image {
	c.t.Helper()
	i, err := c.bakery(baked(nil)).Bake(c.t.Context(), testRecipe, Ingredients{Oven: testOven}, func(string) {})
	if err != nil {
		c.t.Fatal(err)
	}
	return i
}

// images are those of the project, a line each.
func (c *cloud) images() (lines []string) {
	c.t.Helper()
	g := c.google()
	rows, err := all(c.t.Context(), g, "images.list", "", func(ctx context.Context) func() (*computepb.Image, error) {
		return g.images.List(ctx, &computepb.ListImagesRequest{Project: testProject}).Next
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, row := range rows {
		i := imageOf(row)
		line := fmt.Sprintf("image %s: %s, %s", i.Name, i.status, i.Family)
		if i.Hold != "" {
			line += ", held"
		}
		for _, k := range sortedKeys(i.Labels) {
			line += ", " + k + "=" + i.Labels[k]
		}
		lines = append(lines, line)
	}
	return lines
}

// TestBake: the image is of the disk of a machine that was prepared, and nothing else is left. Baked again it is taken
// over, and whoever had the hold before does not delete it any more.
func TestBake(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	var said []string
	var at ssh.Node
	var got ssh.Baking
	b := c.bakery(func(_ context.Context, n ssh.Node, _ ssh.Access, in ssh.Baking, _ func(string)) (string, error) {
		at, got = n, in
		return "b1a2", nil
	})
	with := Ingredients{Oven: testOven, Binary: "/bin/holdfast", Secrets: agentapi.Secrets{"token": "t"}}
	first, err := b.Bake(t.Context(), testRecipe, with, func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ssh.Baking{Binary: "/bin/holdfast", Steps: testRecipe.Steps, Secrets: agentapi.Secrets{"token": "t"}}, got); diff != "" {
		t.Error(diff)
	}
	if at.User != "ops" || at.Address == "" || !slices.Equal(at.HostKeys, []string{hostKeyType + " " + hostKey}) {
		t.Errorf("logged in to %+v", at)
	}
	if at.MoreHostKeys == nil {
		t.Error("a machine that tells its keys one by one is not asked again")
	}
	if first.Name != testRecipe.Image() || first.Recipe != "base" || first.Family != "base" || first.Binary != "b1a2" || first.SizeGB != 10 ||
		!strings.HasPrefix(first.Source, "projects/debian-cloud/global/images/debian-12-") {
		t.Errorf("made: %+v", first)
	}
	if left := c.project().summary(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for _, part := range []string{"creating machine holdfast-bake-base-h", "waiting for machine", "stopping machine", "creating image base-", "delete machine holdfast-bake-base-h"} {
		if !slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, part) }) {
			t.Errorf("nothing said of %q: %q", part, said)
		}
	}

	b.bake = func(context.Context, ssh.Node, ssh.Access, ssh.Baking, func(string)) (string, error) {
		t.Error("it was baked again")
		return "", nil
	}
	second, err := b.Bake(t.Context(), testRecipe, with, func(string) {})
	if err != nil || second.Hold == first.Hold {
		t.Fatalf("taken over: %+v, %v", second, err)
	}
	for _, tc := range []struct {
		hold string
		want int
	}{{first.Hold, 1}, {second.Hold, 0}, {second.Hold, 0}} {
		if err := b.Delete(t.Context(), "base", first.Name, tc.hold, func(string) {}); err != nil || len(c.images()) != tc.want {
			t.Errorf("deleted with %s: %v, %v", tc.hold, err, c.images())
		}
	}
}

// A machine that could not be prepared is gone, and there is no image. One that was interrupted, too.
func TestBakeFails(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	failure := &platform.Error{What: "the step", Err: errors.New("exit 3"), Next: "Mend it."}
	_, err := c.bakery(baked(failure)).Bake(t.Context(), testRecipe, Ingredients{Oven: testOven}, func(string) {})
	if !errors.Is(err, failure) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.bakery(func(ctx context.Context, _ ssh.Node, _ ssh.Access, _ ssh.Baking, _ func(string)) (string, error) {
		cancel()
		return "", ctx.Err()
	}).Bake(ctx, testRecipe, Ingredients{Oven: testOven}, func(string) {})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left := append(c.project().summary(), c.images()...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// An image of the name that nobody baked is not touched, nor is one of another recipe.
func TestNotOurs(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	c.behind("disks.insert", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
		return g.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: testProject, Zone: "us-east4-a", RequestId: id, DiskResource: &computepb.Disk{Name: new("d"), SizeGb: new(int64(10))}})
	})
	c.behind("images.insert", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
		return g.images.Insert(ctx, &computepb.InsertImageRequest{Project: testProject, RequestId: id,
			ImageResource: &computepb.Image{Name: new(testRecipe.Image()), SourceDisk: new("zones/us-east4-a/disks/d")}})
	})
	before := c.images()
	b := c.bakery(baked(nil))
	if err := b.Preflight(t.Context(), testRecipe, testOven); !errors.Is(err, ErrTaken) {
		t.Error(err)
	}
	if _, err := b.Bake(t.Context(), testRecipe, Ingredients{Oven: testOven}, func(string) {}); !errors.Is(err, ErrTaken) {
		t.Error(err)
	}
	if err := b.Delete(t.Context(), "base", testRecipe.Image(), "", func(string) {}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, c.images()); diff != "" {
		t.Error(diff)
	}
}

// What is in the way is told, all of it, and nothing is changed.
func TestBakePreflight(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	b := c.bakery(baked(nil))
	if err := b.Preflight(t.Context(), testRecipe, testOven); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		change func(*Recipe, *Oven)
		want   []string
	}{
		"nothing is right": {func(r *Recipe, o *Oven) {
			*r = Recipe{Name: "Base", Source: "debian", Family: "-", Labels: map[string]string{"holdfast-x": "", "A": "b"}}
			*o = Oven{Network: "default", Tags: []string{"A"}}
		}, []string{`name "Base"`, `source image "debian"`, `family "-"`, "holdfast-x", "A=b", "zone", "machine type", "user", `tag "A"`}},
		"too long":     {func(r *Recipe, _ *Oven) { r.Name = strings.Repeat("a", maxRecipe+1) }, []string{"52 at most"}},
		"zone":         {func(_ *Recipe, o *Oven) { o.Zone = "us-east9-z" }, []string{"zone us-east9-z: it does not exist"}},
		"machine type": {func(_ *Recipe, o *Oven) { o.MachineType = "z9-mega" }, []string{"machine type z9-mega in us-east4-a"}},
		"source":       {func(r *Recipe, _ *Oven) { r.Source = "projects/debian-cloud/global/images/family/debian-1" }, []string{"debian-1"}},
		"arm":          {func(r *Recipe, _ *Oven) { r.Source = "projects/debian-cloud/global/images/family/debian-13-arm64" }, []string{errArch.Error()}},
		"too small":    {func(r *Recipe, _ *Oven) { r.SizeGB = 5 }, []string{errImageLarge.Error()}},
		"network":      {func(_ *Recipe, o *Oven) { o.Network = "none" }, []string{"network none"}},
		"subnetwork":   {func(_ *Recipe, o *Oven) { o.Network, o.Subnetwork = "", "none" }, []string{"subnetwork none: "}},
		"other region": {func(_ *Recipe, o *Oven) {
			o.Subnetwork = "projects/" + testProject + "/regions/us-west2/subnetworks/default"
		}, []string{errRegion.Error()}},
		"type of disk": {func(_ *Recipe, o *Oven) { o.DiskType = "floppy" }, []string{"floppy"}},
		"no network":   {func(_ *Recipe, o *Oven) { o.Network = "" }, []string{"network"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, o := testRecipe, testOven
			tc.change(&r, &o)
			err := b.Preflight(t.Context(), r, o)
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("does not say %q: %v", want, err)
				}
			}
		})
	}
	for _, call := range c.Calls() {
		if !reads(call.Method) {
			t.Errorf("%s was called", call.Method)
		}
	}
}

// The name of an image is another one for whatever else is in it, and the same one for what is not.
func TestImageName(t *testing.T) {
	name := testRecipe.Image()
	if len(name) != len("base-")+fingerprintLength || !nameRE.MatchString(name) {
		t.Error(name)
	}
	for what, change := range map[string]func(*Recipe){
		"source":  func(r *Recipe) { r.Source += "x" },
		"size":    func(r *Recipe) { r.SizeGB = 20 },
		"steps":   func(r *Recipe) { r.Steps = append(slices.Clone(r.Steps), agentapi.Step{Name: "x"}) },
		"trigger": func(r *Recipe) { r.Triggers = map[string]string{"version": "2"} },
	} {
		r := testRecipe
		if change(&r); r.Image() == name {
			t.Errorf("%s: %s", what, r.Image())
		}
	}
	r := testRecipe
	r.Family, r.Labels = "x", map[string]string{"x": "y"}
	if r.Image() != name {
		t.Errorf("family and labels: %s", r.Image())
	}
}

// A machine that tells no host keys is an error with the end of its serial port, and is removed.
func TestBakeSilent(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	c.guests.silent.Store("*", nil)
	b := c.bakery(baked(nil))
	b.place.BootTimeout = 50 * time.Millisecond
	_, err := b.Bake(t.Context(), testRecipe, Ingredients{Oven: testOven}, func(string) {})
	if !errors.Is(err, errSilent) || !strings.Contains(err.Error(), "login:") {
		t.Error(err)
	}
	if left := append(c.project().summary(), c.images()...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A machine that something else is being done with, for longer than a few looks take, is waited for.
func TestBakeWaits(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	const refusals = 2 * rounds
	for call := range refusals {
		c.Inject(emulator.Fault{Method: "compute.instances.delete", Call: call + 1,
			HTTP: &emulator.HTTPError{Status: 400, Reason: "resourceNotReady", Message: "The resource is not ready"}})
	}
	c.bake()
	if left := c.project().summary(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
