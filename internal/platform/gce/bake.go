// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/googleapis/gax-go/v2"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
)

// Bakery makes images of a project, each on a machine that is there for it alone:
//
//	Recipe ─▶ machine ─▶ binary, steps ─▶ seal ─▶ stop ─▶ image ─▶ machine deleted
//
// What a run leaves that was killed, the next one of the recipe removes: it is found by its label. An image that is
// there by the recipe's name and fingerprint is taken over, and not made again. Safe for concurrent use by different recipes.
type Bakery struct {
	client *client
	place  Place
	// bake makes a machine what the image is made of; package ssh's Bake.
	bake func(context.Context, ssh.Node, ssh.Access, ssh.Baking, func(string)) (string, error)
	// killed has nothing cleaned up once the context has ended, as when the process is killed: for tests.
	killed bool
	// word makes a random word; tests make it one that they know.
	word func() string
}

// Oven is the machine that an image is baked on.
type Oven struct {
	Zone                string
	MachineType         string
	Network, Subnetwork string
	DiskType            string // of its boot disk
	Tags                []string
	External            bool // it has an external address, by which it is reached
	User                string
}

// Ingredients are what a recipe does not say.
type Ingredients struct {
	Oven    Oven
	Binary  string // path of the holdfast binary
	Secrets map[string]string
}

// Bakery returns the bakery of a place's project. It asks nobody; Close of the platform ends its connections.
func (p *Platform) Bakery() *Bakery {
	return &Bakery{client: p.client, place: p.cfg.Place, bake: ssh.Bake, word: word}
}

// config is the machine's configuration, as one of a cluster of its own.
func (b *Bakery) config(r Recipe, o Oven) Config {
	return Config{Place: b.place, Machines: Machines{
		Nodes: map[string]Node{r.Name: {Zone: o.Zone, Subnetwork: o.Subnetwork}}, Network: o.Network, MachineType: o.MachineType,
		Image: r.Source, BootDisk: o.DiskType, BootSizeGB: r.SizeGB, Tags: o.Tags, External: o.External, User: o.User,
	}}.withDefaults()
}

// check finds what can never work, without asking anybody.
func (b *Bakery) check(r Recipe, o Oven) (Config, error) {
	var all problems
	all.add(r.validate())
	cfg := b.config(r, o)
	need := func(field, value string, ok bool, err error, next string) {
		if value == "" {
			ok, err = false, errEmpty
		}
		if !ok {
			all.add(&platform.Error{What: strings.TrimSpace(fmt.Sprintf("%s %q cannot be used", field, value)), Err: err, Next: next})
		}
	}
	need("project", b.place.Project, true, nil, "Name the project.")
	need("zone", o.Zone, zoneRE.MatchString(o.Zone), errZone, "Name the zone.")
	need("machine type", o.MachineType, nameRE.MatchString(o.MachineType), errName, "Name the machine type, like e2-medium.")
	need("user", o.User, !strings.ContainsAny(o.User, ": \t\r\n"), errName, "Name the user to log in as.")
	if o.Subnetwork == "" {
		need("network", o.Network, true, nil, "Name the network, or the subnetwork.")
	}
	for _, t := range o.Tags {
		need("tag", t, nameRE.MatchString(t), errName, "Use another one.")
	}
	return cfg, all.join("the image cannot be made as it is configured")
}

const cannotBake = "the image cannot be made on Compute Engine"

// Preflight asks the project whether the image can be made there, and returns all that is in the way.
func (b *Bakery) Preflight(ctx context.Context, r Recipe, o Oven) error {
	cfg, err := b.check(r, o)
	if err != nil {
		return err
	}
	f := &flight{p: &Platform{site: &site{client: b.client}, cfg: cfg}, ctx: ctx, baking: true,
		c: platform.Cluster{Name: r.Name, Nodes: []platform.Node{{Name: r.Name}}}}
	var there *Image
	f.ask(func() (err error) {
		there, err = b.client.findImage(ctx, r.Image())
		return advised("image "+r.Image(), err)
	})
	f.askPlaces()
	f.wg.Wait()
	if f.project != nil {
		return f.project
	}
	if there != nil && !there.ours(r.Name) {
		f.found.add(notOurs(*there))
	}
	if image := f.images[r.Source]; image != nil {
		if err := checkImage(image, f.types[o.Zone+"/"+o.MachineType], r.SizeGB); err != nil {
			f.found.add(&platform.Error{What: "image " + r.Source, Err: err, Next: "Use another image or machine type."})
		}
	}
	var todo task
	todo.then(action{do: createInstance, instance: instance{zone: o.Zone, machineType: o.MachineType, image: r.Source, public: o.External}})
	needs := f.needs(plan{parallel: []task{todo}})
	if needs[""] != nil {
		needs[""]["IMAGES"] = 1
	}
	for place, need := range needs {
		f.found = append(f.found, short(place, need, f.quotas[place])...)
	}
	return f.found.join(cannotBake)
}

func notOurs(i Image) error {
	return &platform.Error{What: "image " + i.Name, Err: fmt.Errorf("%w: it is not the recipe's", ErrTaken), Next: "Use another name, or delete that image. It was not touched."}
}

// Find is the image of a name; nil where there is none.
func (b *Bakery) Find(ctx context.Context, name string) (*Image, error) {
	i, err := b.client.findImage(ctx, name)
	return i, advised("image "+name, err)
}

// Bake makes the image, or takes over the one that is there. hold is the word by which it can be deleted from then on.
func (b *Bakery) Bake(ctx context.Context, r Recipe, with Ingredients, progress func(string)) (Image, error) {
	cfg, err := b.check(r, with.Oven)
	if err != nil {
		return Image{}, err
	}
	there, err := b.settled(ctx, r)
	if err != nil {
		return Image{}, err
	}
	if err := b.sweep(ctx, r.Name, progress); err != nil {
		return Image{}, err
	}
	hold := b.word()
	if there != nil {
		progress("image " + there.Name + " is there already")
		err := b.patiently(ctx, func() error {
			is, err := b.made(ctx, r)
			if err != nil {
				return err
			}
			return advised("take image "+is.Name+" over", b.client.labelImage(ctx, is, r.labelled(hold)))
		})
		if err != nil {
			return Image{}, err
		}
		return b.made(ctx, r)
	}
	source, err := b.client.getImage(ctx, r.Source)
	if err != nil {
		return Image{}, advised("image "+r.Source, err)
	}
	machine := b.machine(cfg, r)
	err = b.cook(ctx, cfg, r, machine, with, path(source.GetSelfLink(), b.place.Project), hold, progress)
	if b.killed && ctx.Err() != nil {
		return Image{}, errors.Join(err, context.Cause(ctx))
	}
	// The machine goes, whatever became of the image, and also when nobody waits for it any more.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepBound)
	defer cancel()
	if sweepErr := b.sweep(rest, r.Name, progress); sweepErr != nil {
		return Image{}, errors.Join(err, sweepErr)
	}
	if err != nil {
		return Image{}, err
	}
	return b.made(ctx, r)
}

// sweepBound is for removing the machine.
const sweepBound = 5 * time.Minute

// word is a random word for a label, and for the end of a name.
func word() string {
	b := make([]byte, (wordLength-1)/2)
	_, _ = rand.Read(b) // it never fails
	return "h" + hex.EncodeToString(b)
}

const wordLength = 13

// machine is what the image is baked on.
func (b *Bakery) machine(cfg Config, r Recipe) instance {
	n := cfg.Nodes[r.Name]
	return instance{
		name: fit("holdfast-bake-"+r.Name, maxName-wordLength-1) + "-" + b.word(), zone: n.Zone, machineType: n.MachineType, image: n.Image,
		labels: map[string]string{labelImage: r.Name}, tags: cfg.Tags, subnetwork: cfg.subnetwork(n), public: cfg.External,
		metadata: map[string]string{metaAttributes: "TRUE", metaOSLogin: "FALSE"},
	}
}

// cook makes the machine, has it baked, and makes the image of its disk.
func (b *Bakery) cook(ctx context.Context, cfg Config, r Recipe, m instance, in Ingredients, source, hold string, progress func(string)) error {
	progress("creating machine " + m.name + " in " + m.zone + " from " + last(source))
	if err := b.client.insertInstance(ctx, cfg, m); err != nil {
		return advised("create machine "+m.name, err)
	}
	is, err := b.client.getInstance(ctx, m.zone, m.name)
	if err != nil {
		return advised("machine "+m.name, err)
	}
	var keys []string
	if b.place.Access.KnownHosts == "" {
		progress("waiting for machine " + m.name + " to tell its host keys")
		if keys, err = b.client.awaitKeys(ctx, is, cmp.Or(b.place.BootTimeout, cfg.BootTimeout)); err != nil {
			return err
		}
	}
	at := ssh.Node{User: in.Oven.User, Address: cmp.Or(is.external, is.address), HostKeys: keys}
	if len(keys) > 0 {
		at.MoreHostKeys = func(ctx context.Context) ([]string, error) { return b.client.readKeys(ctx, is) }
	}
	binary, err := b.bake(ctx, at, b.place.Access, ssh.Baking{Binary: in.Binary, Steps: r.Steps, Secrets: in.Secrets}, progress)
	if err != nil {
		return err
	}
	progress("stopping machine " + m.name)
	if err := b.client.changeInstance(ctx, cfg, action{do: stopInstance, name: m.name, instance: m}); err != nil {
		return advised("stop machine "+m.name, err)
	}
	progress("creating image " + r.Image())
	// Its boot disk has the machine's name.
	if err := b.client.insertImage(ctx, r, m.zone, m.name, hold, describe(source, binary)); err != nil {
		return advised("create image "+r.Image(), err)
	}
	return nil
}

// made is the image, once it is.
func (b *Bakery) made(ctx context.Context, r Recipe) (Image, error) {
	i, err := b.client.findImage(ctx, r.Image())
	switch {
	case err != nil:
		return Image{}, advised("image "+r.Image(), err)
	case i == nil:
		return Image{}, &platform.Error{What: "image " + r.Image(), Err: fmt.Errorf("%w: somebody deleted it at once", ErrNotFound), Next: "Apply again."}
	}
	return *i, nil
}

// settled is the image that is there by the recipe's name and can be used; one that failed is removed, one that is being made or
// deleted is waited for.
func (b *Bakery) settled(ctx context.Context, r Recipe) (*Image, error) {
	const patience = 15 * time.Minute
	give := time.Now().Add(patience)
	for pause := b.client.first; ; pause = min(pause*2, 5*time.Second) {
		i, err := b.client.findImage(ctx, r.Image())
		switch {
		case err != nil:
			return nil, advised("image "+r.Image(), err)
		case i == nil:
			return nil, nil //nolint:nilnil // there is none
		case !i.ours(r.Name):
			return nil, notOurs(*i)
		case i.status == "READY":
			return i, nil
		case i.status == "FAILED":
			if err := b.client.deleteImage(ctx, i.Name); err != nil {
				return nil, advised("delete image "+i.Name+", which failed", err)
			}
		case time.Now().After(give):
			return nil, &platform.Error{What: "image " + i.Name, Err: fmt.Errorf("%w: it is %s for long", ErrNotReady, i.status), Next: next[ErrNotReady]}
		}
		if err := gax.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// sweep removes machines and disks that are there for a recipe.
func (b *Bakery) sweep(ctx context.Context, recipe string, progress func(string)) error {
	filter := fmt.Sprintf("labels.%s=%q", labelImage, recipe)
	for range rounds {
		var machines []instance
		var disks []disk
		var errs [2]error
		var wg sync.WaitGroup
		wg.Go(func() { machines, errs[0] = b.client.listInstances(ctx, filter) })
		wg.Go(func() { disks, errs[1] = b.client.listDisks(ctx, filter) })
		wg.Wait()
		if err := cmp.Or(errs[0], errs[1]); err != nil {
			return advised("what is there for image "+recipe+" cannot be looked at", err)
		}
		todo := removal(observed{instances: machines, disks: unused(machines, disks)})
		if todo.empty() {
			return nil
		}
		var failed problems
		for _, t := range todo.parallel {
			for _, stage := range t.stages {
				for _, a := range stage {
					progress(strings.TrimSpace(a.line("")))
					err := b.patiently(ctx, func() error { return b.client.act(ctx, Config{}, a) })
					if err != nil && !stale(err) { // else the next look says what became of it
						failed.add(advised(string(a.do)+" "+a.name, err))
					}
				}
			}
		}
		if err := failed.join("not all that was there for image " + recipe + " could be removed"); err != nil {
			return err
		}
	}
	return &platform.Error{What: "not all that was there for image " + recipe + " could be removed", Err: ErrNotReady, Next: next[ErrNotReady]}
}

// unused are the disks that no machine has.
func unused(machines []instance, disks []disk) []disk {
	var out []disk
	for _, d := range disks {
		if d.user == "" && len(machines) == 0 {
			out = append(out, d)
		}
	}
	return out
}

// patiently tries again while a run that was cut, or somebody else, is at work on the same thing: what try saw
// is then of the past.
func (b *Bakery) patiently(ctx context.Context, try func() error) error {
	const patience = 2 * time.Minute
	give := time.Now().Add(patience)
	for pause := b.client.first; ; pause = min(pause*2, 5*time.Second) {
		err := try()
		if !errors.Is(err, ErrNotReady) && !errors.Is(err, ErrConflict) || time.Now().Add(pause).After(give) {
			return err
		}
		if err := gax.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// Change gives an image the recipe's family and labels.
func (b *Bakery) Change(ctx context.Context, r Recipe, progress func(string)) (Image, error) {
	var i Image
	err := b.patiently(ctx, func() (err error) {
		i, err = b.change(ctx, r, progress)
		return err
	})
	return i, err
}

func (b *Bakery) change(ctx context.Context, r Recipe, progress func(string)) (Image, error) {
	i, err := b.made(ctx, r)
	if err != nil {
		return i, err
	}
	if !i.ours(r.Name) {
		return i, notOurs(i)
	}
	if want := r.labelled(i.Hold); !sameLabels(want, i.all) {
		progress("labelling image " + i.Name)
		if err := b.client.labelImage(ctx, i, want); err != nil {
			return i, advised("label image "+i.Name, err)
		}
	}
	if i.Family != r.Family {
		progress("setting the family of image " + i.Name)
		if err := b.client.setFamily(ctx, i.Name, r.Family); err != nil {
			return i, advised("set the family of image "+i.Name, err)
		}
	}
	return b.made(ctx, r)
}

// Delete deletes an image that somebody made by the recipe's name and still has the hold on. One that is gone, or that
// another one took over since, is left alone. Machines that have a disk made of it keep it.
func (b *Bakery) Delete(ctx context.Context, recipe, image, hold string, progress func(string)) error {
	i, err := b.client.findImage(ctx, image)
	if err != nil {
		return advised("image "+image, err)
	}
	if i == nil {
		return nil
	}
	if i.Recipe != recipe || i.Hold != hold {
		progress("image " + image + " is left: another one took it over")
		return nil
	}
	progress("deleting image " + image)
	return b.patiently(ctx, func() error { return advised("delete image "+image, b.client.deleteImage(ctx, image)) })
}
