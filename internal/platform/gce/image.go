// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Recipe says what is in an image, and what it is called. All images of one recipe's name in a project are
// made by one who has that name: another one that bakes by it takes its machine away.
type Recipe struct {
	Name   string // the beginning of the images' names
	Source string // path of the image, or of the family, that it begins as
	// SizeGB is the size of the boot disk of the machine, and so of the image. 0: the source's.
	SizeGB int64
	Steps  []agentapi.Step
	// Triggers are in no image: another one is another image.
	Triggers map[string]string

	// Family and Labels of the image can be changed afterwards.
	Family string
	Labels map[string]string
}

// fingerprint is a hash of all that decides what is in the image.
func (r Recipe) fingerprint() string {
	b, err := json.Marshal(map[string]any{"version": 1, "source": r.Source, "size_gb": r.SizeGB, "steps": r.Steps, "triggers": r.Triggers})
	if err != nil {
		panic(fmt.Sprintf("texts and numbers as JSON: %v", err)) // there is nothing else in it
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:fingerprintLength]
}

const fingerprintLength = 10

// maxRecipe is the longest name of a recipe, so that its images' names are whole.
const maxRecipe = maxName - 1 - fingerprintLength

// Image is the name of the image that the recipe makes: another one for whatever else is in it. A newer image of
// the source's family, or another holdfast binary, is none: whoever wants that names a trigger.
func (r Recipe) Image() string { return r.Name + "-" + r.fingerprint() }

var errRecipe = fmt.Errorf("not lower-case letters, digits and hyphens, with a letter first and no hyphen last, %d at most", maxRecipe)

func (r Recipe) validate() error {
	var all problems
	wrong := func(field, value string, err error) {
		all.add(&platform.Error{What: fmt.Sprintf("%s %q cannot be used", field, value), Err: err, Next: "Use another one."})
	}
	if !nameRE.MatchString(r.Name) || len(r.Name) > maxRecipe {
		wrong("the image's name", r.Name, errRecipe)
	}
	if !imageRE.MatchString(r.Source) {
		wrong("source image", r.Source, errPath)
	}
	if r.Family != "" && !nameRE.MatchString(r.Family) {
		wrong("family", r.Family, errName)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		if strings.HasPrefix(k, "holdfast-") {
			wrong("label", k, errReserved)
		} else if !keyRE.MatchString(k) || !valueRE.MatchString(r.Labels[k]) {
			wrong("label", k+"="+r.Labels[k], errLabel)
		}
	}
	return all.join("the image cannot be made as it is configured")
}

// The labels of an image, and of the machine and disk that it is baked on.
const (
	labelImage = "holdfast-image" // the recipe's name
	// labelBake is the hold on an image: a random word that whoever made or took it over last put there, and
	// without which nobody deletes it.
	labelBake = "holdfast-bake"
)

// Image is an image that was baked.
type Image struct {
	Name   string
	Recipe string // the recipe's name
	Hold   string // of labelBake
	Family string
	Labels map[string]string // those that are not Holdfast's or Google's
	SizeGB int64
	// Source is the image that it began as, and Binary the SHA-256 of the holdfast binary in it: as its description says.
	Source, Binary string

	status string // PENDING, READY, FAILED, DELETING
	print  string // fingerprint of the labels
	all    map[string]string
}

// ours tells whether a recipe of that name made the image.
func (i Image) ours(recipe string) bool { return i.Recipe == recipe && i.Hold != "" }

// The lines of an image's description that are read again.
const (
	lineSource = "source: "
	lineBinary = "holdfast binary: sha256:"
)

func describe(source, binary string) string {
	return "Baked by holdfast_image, with agent and engine.\n" + lineSource + source + "\n" + lineBinary + binary
}

func imageOf(row *computepb.Image) Image {
	i := Image{Name: row.GetName(), Family: row.GetFamily(), Labels: map[string]string{}, SizeGB: row.GetDiskSizeGb(),
		status: row.GetStatus(), print: row.GetLabelFingerprint(), all: row.GetLabels()}
	for k, v := range row.GetLabels() {
		switch {
		case k == labelImage:
			i.Recipe = v
		case k == labelBake:
			i.Hold = v
		case !googles(k):
			i.Labels[k] = v
		}
	}
	for line := range strings.Lines(row.GetDescription()) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, lineSource); ok {
			i.Source = rest
		}
		if rest, ok := strings.CutPrefix(line, lineBinary); ok {
			i.Binary = rest
		}
	}
	return i
}

// labelled are the labels of an image of a recipe.
func (r Recipe) labelled(hold string) map[string]string {
	return with(r.Labels, labelImage, r.Name, labelBake, hold)
}

// findImage is the image of a name; nil where there is none.
func (c *client) findImage(ctx context.Context, name string) (*Image, error) {
	row, err := c.getImage(ctx, "global/images/"+name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return new(imageOf(row)), nil
}

func (c *client) insertImage(ctx context.Context, r Recipe, zone, disk, hold, description string) error {
	row := &computepb.Image{Name: new(r.Image()), SourceDisk: new(c.zonal(zone, "disks", disk)), Labels: r.labelled(hold), Description: &description}
	if r.Family != "" {
		row.Family = &r.Family
	}
	return c.mutate(ctx, "images.insert", r.Image(), func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.images.Insert(ctx, &computepb.InsertImageRequest{Project: c.project, RequestId: id, ImageResource: row})
	})
}

// labelImage sets an image's labels. That call has no request ID: where its answer was lost, the image says what it did.
func (c *client) labelImage(ctx context.Context, i Image, labels map[string]string) error {
	labels = withGoogles(labels, i.all)
	err := c.mutate(ctx, "images.setLabels", i.Name, func(ctx context.Context, _ *string) (*compute.Operation, error) {
		return c.images.SetLabels(ctx, &computepb.SetLabelsImageRequest{Project: c.project, Resource: i.Name,
			GlobalSetLabelsRequestResource: &computepb.GlobalSetLabelsRequest{LabelFingerprint: &i.print, Labels: labels}})
	})
	if errors.Is(err, ErrConflict) {
		if is, lookErr := c.findImage(ctx, i.Name); lookErr == nil && is != nil && maps.Equal(is.all, labels) {
			return nil
		}
	}
	return err
}

func (c *client) setFamily(ctx context.Context, image, family string) error {
	return c.mutate(ctx, "images.patch", image, func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.images.Patch(ctx, &computepb.PatchImageRequest{Project: c.project, Image: image, RequestId: id, ImageResource: &computepb.Image{Family: &family}})
	})
}

func (c *client) deleteImage(ctx context.Context, name string) error {
	return gone(c.mutate(ctx, "images.delete", name, func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.images.Delete(ctx, &computepb.DeleteImageRequest{Project: c.project, Image: name, RequestId: id})
	}))
}
