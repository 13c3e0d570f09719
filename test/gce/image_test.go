// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/iterator"
)

// secret is one of a provisioning step.
const secret = "correct-horse-battery-staple"

// baked is an image, of which the cluster's machines are.
const baked = `
variable "content" {}
variable "team" {}

resource "holdfast_image" "base" {
  project = var.project
  name    = "${var.name}-base"
  family  = "${var.name}-base"
  labels  = { team = var.team }
  zone    = var.zones["a"]
  network = var.network

  external_address = var.external_addresses

  provision = [
    { name = "content", file = { path = "/etc/baked", content = var.content } },
    { name = "token", shell = { inline = ["printf %s \"$TOKEN\" | wc -c >/etc/token-length; echo $TOKEN"], secret_env = { TOKEN = "token" } } },
  ]
  provision_secrets = { token = "` + secret + `" }
}
`

// ofImage has the cluster's machines be of the image.
const ofImage = `
resource "holdfast_cluster" "this" {
  nodes = { for node, zone in var.zones : node => { zone = zone, image = holdfast_image.base.image } }
}
`

// TestImage: an image is baked and a cluster made of it by one apply; another one replaces the machines and keeps their disks.
// Nothing is left of the machine that it was baked on, and the secret of a step is nowhere.
func TestImage(t *testing.T) {
	c := newCloud(t, ofContainers)
	c.zones = map[string]string{"a": c.zones["a"]}
	c.configure("zones", fmt.Sprintf(`{ a = %q }`, c.zones["a"]))
	c.configure("content", "first")
	c.configure("team", "orders")
	c.tf.File(t, "image.tf", baked)
	c.tf.File(t, "image_override.tf", ofImage)
	c.tf.File(t, "kept.tf", kept)
	if out := c.plan(); !regexp.MustCompile(`image_name += "` + c.name + `-base-[0-9a-f]{10}"`).MatchString(out) {
		t.Errorf("the plan does not name the image:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.NothingDiffers(t)
	first := c.isOfImage(t, "first")
	disks, machine := c.ids(), c.instance("a").GetId()
	if seen := c.sees(t, "a", "cat /etc/token-length; stat -c %s /etc/machine-id; ls /run/holdfast-image 2>&1 | wc -l; sudo systemctl is-active holdfast-engine"); seen != fmt.Sprintf("%d\n33\n1\nactive\n", len(secret)) {
		t.Errorf("the machine: %q", seen)
	}

	c.configure("team", "search")
	if out := c.plan(); !strings.Contains(out, "0 to add, 1 to change, 0 to destroy") {
		t.Errorf("the plan for a label:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.NothingDiffers(t)
	if again := c.isOfImage(t, "first"); again != first {
		t.Errorf("the image is %s, and was %s", again, first)
	}

	c.configure("content", "second")
	if out := c.plan(); !strings.Contains(out, "must be replaced") || !strings.Contains(out, "# forces replacement") {
		t.Errorf("the plan for another content:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.Settles(t)
	if second := c.isOfImage(t, "second"); second == first || c.instance("a").GetId() == machine {
		t.Errorf("image %s, and was %s; machine %d, and was %d", second, first, c.instance("a").GetId(), machine)
	}
	if now := c.ids(); fmt.Sprint(now) != fmt.Sprint(disks) {
		t.Errorf("disks are %v, and were %v", now, disks)
	}

	c.tf.Must(t, 0, "state", "rm", "holdfast_image.base")
	c.tf.Must(t, 0, "import", "-input=false", "holdfast_image.base", c.project+"/"+c.isOfImage(t, "second"))
	if out := c.plan(); !strings.Contains(out, "0 to add, 1 to change, 0 to destroy") {
		t.Errorf("the plan after an import:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.NothingDiffers(t)
	c.nowhere(t, secret)
	c.tf.Must(t, 0, "destroy", "-auto-approve", "-input=false")
	if left := append(c.left(), c.baked()...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// sees is what a command on a machine says.
func (c *cloud) sees(t *testing.T, node, command string) string {
	t.Helper()
	shell := c.newShell(node)
	defer shell.Drop()
	out, err := shell.Run(t.Context(), command)
	if err != nil {
		t.Errorf("%s: %v: %s", command, err, out)
	}
	return out
}

// isOfImage is the name of the only image that there is, of which the node's machine is, with what was baked into it.
func (c *cloud) isOfImage(t *testing.T, content string) string {
	t.Helper()
	all := c.baked()
	if len(all) != 1 {
		t.Fatalf("images, and what they were baked on: %v", all)
	}
	image := strings.TrimPrefix(all[0], "image ")
	if got := c.sees(t, "a", "cat /etc/baked"); got != content {
		t.Errorf("/etc/baked has %q", got)
	}
	disk, err := c.disks.Get(t.Context(), &computepb.GetDiskRequest{Project: c.project, Zone: c.zones["a"], Disk: c.name + "-a"})
	if err != nil || !strings.HasSuffix(disk.GetSourceImage(), "/"+image) {
		t.Errorf("the boot disk is of %s, not %s: %v", disk.GetSourceImage(), image, err)
	}
	return image
}

// baked are the images that the project has of the test's name, and the machines that are there for one.
func (c *cloud) baked() (all []string) {
	c.t.Helper()
	label := new("labels.holdfast-image=" + c.name + "-base")
	for it := c.images.List(c.t.Context(), &computepb.ListImagesRequest{Project: c.project, Filter: label}); ; {
		i, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, "image "+i.GetName())
	}
	for it := c.instances.List(c.t.Context(), &computepb.ListInstancesRequest{Project: c.project, Zone: c.zones["a"], Filter: label}); ; {
		i, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return all
		}
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, "machine "+i.GetName())
	}
}

// nowhere looks for a secret in all that Terraform and the provider wrote, but for the configuration that has it.
func (c *cloud) nowhere(t *testing.T, secret string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.tf.Path, "*"))
	if err != nil {
		t.Fatal(err)
	}
	state := false
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil || filepath.Base(file) == "image.tf" {
			continue // a directory
		}
		state = state || strings.HasSuffix(file, ".tfstate")
		if strings.Contains(string(b), secret) {
			t.Errorf("%s has the secret", file)
		}
	}
	if !state {
		t.Errorf("no state among %v", files)
	}
}
