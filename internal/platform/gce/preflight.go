// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

var (
	errProject     = errors.New("it cannot be asked")
	errZoneDown    = errors.New("the zone is down")
	errForeignNet  = errors.New("it belongs to another project")
	errCustom      = errors.New("the network makes no subnetworks by itself")
	errRegion      = errors.New("the subnetwork is in another region than the zone")
	errOtherNet    = errors.New("the subnetwork is in another network")
	errOldImage    = errors.New("the image is no longer to be used")
	errBoot        = errors.New("the image does not boot by UEFI, which a Shielded VM needs")
	errArch        = errors.New("the image is for another processor than the machine type's")
	errImageLarge  = errors.New("the boot disk is smaller than the image")
	errNotEnough   = errors.New("the quota does not allow it")
	errMachineType = errors.New("the zone has no such machine type")
	errDiskType    = errors.New("the zone has no such type of disk")
)

// Preflight implements platform.Platform: it asks the project all at once whether what is configured can be
// made there, and returns all that is in the way. Where the machines are there already, they are looked at, too.
func (p *Platform) Preflight(ctx context.Context, c platform.Cluster) error {
	if err := p.asked(c); err != nil {
		return err
	}
	f := &flight{p: p, ctx: ctx, c: c}
	f.found = p.cfg.checkLimits(c)
	f.survey()
	if f.project != nil {
		return f.project // the others fail for the same reason
	}
	f.decide()
	if err := f.found.join("the cluster cannot be made on Compute Engine"); err != nil {
		return err
	}
	return p.preflightMachines(ctx, c, f.have)
}

// preflightMachines looks at the machines, where all are there and can be reached.
func (p *Platform) preflightMachines(ctx context.Context, c platform.Cluster, have observed) error {
	have = have.of(c.ID)
	have.instances = slices.DeleteFunc(have.instances, func(i instance) bool { return !named(c, i.node()) })
	if len(have.instances) < len(c.Nodes) || slices.ContainsFunc(have.instances, func(i instance) bool { return i.status != "RUNNING" }) {
		return nil // Ensure makes and starts them
	}
	keys, err := p.hostKeys(ctx, have.instances, false)
	if err != nil || len(keys) < len(c.Nodes) && p.cfg.Access.KnownHosts == "" {
		return err
	}
	way, err := p.reach(have.instances, keys)
	if err != nil || way == nil {
		return err
	}
	return way.Preflight(ctx, onGCE(c))
}

// flight is one preflight: what was asked, and what was found.
type flight struct {
	p   *Platform
	ctx context.Context
	c   platform.Cluster
	// baking: its only node is the machine that an image is baked on, which is none.
	baking bool

	mu      sync.Mutex // guards what follows, until survey returns
	wg      sync.WaitGroup
	project error // why nothing can be asked
	found   problems
	have    observed
	network string                            // path
	quotas  map[string][]*computepb.Quota     // by region; "" is the project
	types   map[string]*computepb.MachineType // by zone/name
	images  map[string]*computepb.Image       // as they were asked for
}

// of says whose something is.
func (f *flight) of(nodes ...string) string {
	if f.baking {
		return ""
	}
	return " of node " + strings.Join(nodes, ", ")
}

// ask runs one question beside the others. What it returns is found to be in the way.
func (f *flight) ask(question func() error) {
	f.wg.Go(func() {
		err := question()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.found.add(err)
	})
}

// keep notes an answer.
func keep[V any](f *flight, m *map[string]V, key string, v V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

// survey asks everything at once.
func (f *flight) survey() {
	f.ask(func() (err error) {
		f.have, err = f.p.client.observe(f.ctx, f.p.cfg)
		return advised("the project cannot be looked at", err)
	})
	f.askPlaces()
	f.askNames()
	f.wg.Wait()
}

// askPlaces asks for the project, and for what machines are made of and in.
func (f *flight) askPlaces() {
	p, cfg := f.p, f.p.cfg
	f.wg.Go(func() {
		project, err := p.client.getProject(f.ctx)
		keep(f, &f.quotas, "", project.GetQuotas())
		if err != nil {
			f.project = advised("project "+cfg.Project, fmt.Errorf("%w: %w", errProject, err))
		}
	})
	zones, regions, kinds, images := map[string][]string{}, map[string]bool{}, map[[2]string]bool{}, map[string]bool{}
	for _, n := range f.c.Nodes {
		m := cfg.Nodes[n.Name]
		zones[m.Zone] = append(zones[m.Zone], n.Name)
		regions[regionOf(m.Zone)] = true
		kinds[[2]string{m.Zone, m.MachineType}] = true
		images[m.Image] = true
		if s := cfg.subnetwork(m); s != "" {
			f.ask(func() error { return f.subnetwork(n.Name, m, s) })
		}
	}
	for zone, nodes := range zones {
		f.ask(func() error { return f.zone(zone, nodes) })
	}
	for region := range regions {
		f.wg.Go(func() { // a region that is not there has no zone that is: that is told
			if r, err := p.client.getRegion(f.ctx, region); err == nil {
				keep(f, &f.quotas, region, r.GetQuotas())
			}
		})
	}
	for k := range kinds {
		f.ask(func() error {
			t, err := p.client.getMachineType(f.ctx, k[0], k[1])
			keep(f, &f.types, k[0]+"/"+k[1], t)
			return f.inZone("machine type "+k[1]+" in "+k[0], err, errMachineType)
		})
	}
	for image := range images {
		f.ask(func() error {
			i, err := p.client.getImage(f.ctx, image)
			if err == nil {
				keep(f, &f.images, image, i)
			}
			return advised("image "+image, err)
		})
	}
	if cfg.Network != "" {
		f.ask(f.checkNetwork)
	}
}

// askNames asks who has the names of disks and instances: the observation sees only what is
// labelled as the cluster's.
func (f *flight) askNames() {
	const atOnce = 40 // a filter is part of a URL
	var instances, disks []string
	for _, n := range f.p.cfg.want(f.c, "").nodes {
		instances = append(instances, n.instance.name)
		disks = append(disks, n.instance.name) // the boot disk
		for _, d := range n.disks {
			disks = append(disks, d.name)
		}
	}
	for names := range slices.Chunk(instances, atOnce) {
		f.ask(func() error {
			rows, err := f.p.client.listInstances(f.ctx, byName(names))
			var all problems
			for _, i := range rows {
				all.add(f.stranger("instance", i.zone, i.name, i.labels))
			}
			return errors.Join(advised("the names of instances", err), errors.Join(all...))
		})
	}
	for names := range slices.Chunk(disks, atOnce) {
		f.ask(func() error {
			rows, err := f.p.client.listDisks(f.ctx, byName(names))
			var all problems
			for _, d := range rows {
				all.add(f.stranger("disk", d.zone, d.name, d.labels))
			}
			return errors.Join(advised("the names of disks", err), errors.Join(all...))
		})
	}
}

// stranger is the error of a name that the cluster needs, and that something else has. In other zones
// than the nodes' it may have it; of another cluster of the name, the plan tells.
func (f *flight) stranger(what, zone, name string, labels map[string]string) error {
	if labels[labelName] == f.p.cfg.Cluster && labels[labelCluster] != "" ||
		!slices.ContainsFunc(f.c.Nodes, func(n platform.Node) bool { return f.p.cfg.Nodes[n.Name].Zone == zone }) {
		return nil
	}
	return taken(what + " " + name + " in " + zone)
}

func taken(what string) error {
	return &platform.Error{What: what, Err: fmt.Errorf("%w: it is not the cluster's", ErrTaken), Next: next[ErrTaken]}
}

// inZone is an error of something that a zone lacks. Of a zone that is not there, the zone is told.
func (f *flight) inZone(what string, err, lacks error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return &platform.Error{What: what, Err: lacks, Next: "Use another one, or another zone."}
	case errors.Is(err, ErrInvalid):
		return nil
	}
	return advised(what, err)
}

// zone asks for a zone and for the types of disk in it.
func (f *flight) zone(zone string, nodes []string) error {
	z, err := f.p.client.getZone(f.ctx, zone)
	switch {
	case errors.Is(err, ErrNotFound):
		return &platform.Error{What: "zone " + zone + f.of(nodes...), Err: ErrNotFound, Next: "Name one that gcloud compute zones list shows."}
	case err != nil:
		return advised("zone "+zone, err)
	case z.GetStatus() == "DOWN":
		return &platform.Error{What: "zone " + zone, Err: errZoneDown, Next: "Wait, or use another zone."}
	}
	kinds := map[string]bool{}
	if side := f.p.cfg.SideDisk.Type; side != "" {
		kinds[side] = true
	}
	for _, n := range nodes {
		kinds[f.p.cfg.boot(f.p.cfg.Nodes[n].MachineType)] = true
	}
	for i := range f.c.Stores {
		kinds[f.p.cfg.store(i).Type] = true
	}
	for kind := range kinds {
		f.ask(func() error {
			_, err := f.p.client.getDiskType(f.ctx, zone, kind)
			return f.inZone("disks of type "+kind+" in "+zone, err, errDiskType)
		})
	}
	return nil
}

// checkNetwork asks for the network.
func (f *flight) checkNetwork() error {
	what, at := "network "+f.p.cfg.Network, f.p.cfg.network()
	if !f.ours(at) {
		return foreign(what)
	}
	n, err := f.p.client.getNetwork(f.ctx, last(at))
	if err != nil {
		return advised(what, err)
	}
	for _, node := range f.c.Nodes {
		if f.p.cfg.Nodes[node.Name].Subnetwork == "" && !n.GetAutoCreateSubnetworks() {
			return &platform.Error{What: what, Err: errCustom, Next: "Name the subnetwork of every node."}
		}
	}
	return nil
}

func (f *flight) ours(path string) bool {
	return strings.HasPrefix(path, "projects/"+f.p.cfg.Project+"/")
}

func foreign(what string) error {
	return &platform.Error{What: what, Err: errForeignNet, Next: "Use one of the machines' project: the cluster makes firewall rules in it."}
}

// subnetwork asks for a node's subnetwork.
func (f *flight) subnetwork(node string, n Node, at string) error {
	what := "subnetwork " + n.Subnetwork + f.of(node)
	if !f.ours(at) {
		return foreign(what)
	}
	if !strings.Contains(at, "/regions/"+regionOf(n.Zone)+"/") {
		return &platform.Error{What: what, Err: fmt.Errorf("%w %s", errRegion, n.Zone), Next: "Name one of " + regionOf(n.Zone) + "."}
	}
	sub, err := f.p.client.getSubnetwork(f.ctx, at)
	if err != nil {
		return advised(what, err)
	}
	in := path(sub.GetNetwork(), f.p.cfg.Project)
	want := f.p.cfg.network()
	f.mu.Lock()
	defer f.mu.Unlock()
	if want == "" {
		if f.network == "" {
			f.network = in
		}
		want = f.network
	}
	if in != want {
		return &platform.Error{What: what, Err: fmt.Errorf("%w: %s, and not %s", errOtherNet, last(in), last(want)), Next: "Use subnetworks of one network."}
	}
	return nil
}

// decide judges, once all is asked, what belongs together: images and machines, the plan and the quotas.
func (f *flight) decide() {
	cfg := f.p.cfg
	for _, n := range f.c.Nodes {
		m := cfg.Nodes[n.Name]
		if image := f.images[m.Image]; image != nil {
			if err := checkImage(image, f.types[m.Zone+"/"+m.MachineType], cfg.BootSizeGB); err != nil {
				f.found.add(nodeError{n.Name, &platform.Error{What: "image " + m.Image, Err: err, Next: "Use another image or machine type."}})
			}
		}
	}
	network := cfg.network()
	if network == "" {
		network = f.network
	}
	todo, err := planFor(cfg.want(f.c, network), f.have)
	if errors.Is(err, errDestroys) {
		return // Ensure ends that first
	}
	f.found.add(err)
	for _, r := range f.have.firewalls {
		if ownerOf(r.description) == "" {
			f.found.add(taken("firewall rule " + r.name))
		}
	}
	for place, need := range f.needs(todo) {
		f.found = append(f.found, short(place, need, f.quotas[place])...)
	}
	slices.SortStableFunc(f.found, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}

// checkImage judges whether a machine of a type boots the image.
func checkImage(image *computepb.Image, kind *computepb.MachineType, bootGB int64) error {
	arch := func(a string) string {
		if a == "" || a == "ARCHITECTURE_UNSPECIFIED" {
			return "X86_64"
		}
		return a
	}
	switch state := image.GetDeprecated().GetState(); {
	case state == "OBSOLETE" || state == "DELETED":
		return fmt.Errorf("%w: it is %s", errOldImage, strings.ToLower(state))
	case !slices.ContainsFunc(image.GetGuestOsFeatures(), func(g *computepb.GuestOsFeature) bool { return g.GetType() == "UEFI_COMPATIBLE" }):
		return errBoot
	case kind != nil && arch(image.GetArchitecture()) != arch(kind.GetArchitecture()):
		return fmt.Errorf("%w: %s, and %s is %s", errArch, arch(image.GetArchitecture()), kind.GetName(), arch(kind.GetArchitecture()))
	case bootGB != 0 && bootGB < image.GetDiskSizeGb():
		return fmt.Errorf("%w: %d GB, and %d GB", errImageLarge, bootGB, image.GetDiskSizeGb())
	}
	return nil
}

// needs is what a plan takes of each quota, by region; "" is the project.
func (f *flight) needs(todo plan) map[string]map[string]float64 {
	all := map[string]map[string]float64{}
	need := func(place, metric string, n float64) {
		if all[place] == nil {
			all[place] = map[string]float64{}
		}
		all[place][metric] += n
	}
	space := func(zone string, k DiskKind, gb int64) {
		switch k.Type {
		case "pd-standard":
			need(regionOf(zone), "DISKS_TOTAL_GB", float64(gb))
		case "pd-balanced", "pd-ssd", "pd-extreme":
			need(regionOf(zone), "SSD_TOTAL_GB", float64(gb))
		case "hyperdisk-balanced":
			need(regionOf(zone), "HDB_TOTAL_GB", float64(gb))
		}
	}
	for _, t := range todo.parallel { // a machine that is replaced needs no more than it has
		for _, stage := range t.stages {
			for _, a := range stage {
				switch a.do {
				case createDisk:
					space(a.disk.zone, a.disk.kind, a.disk.sizeGB)
					if s := a.disk.kind.speed(a.disk.sizeGB, ""); a.disk.kind.Type == "hyperdisk-balanced" {
						need(regionOf(a.disk.zone), "HDB_TOTAL_IOPS", float64(s.iops))
						need(regionOf(a.disk.zone), "HDB_TOTAL_THROUGHPUT", float64(s.throughput))
					}
				case growDisk, tuneDisk:
					for _, d := range f.have.disks {
						if d.name == a.name && d.zone == a.disk.zone {
							space(d.zone, a.disk.kind, a.disk.sizeGB-d.sizeGB)
						}
					}
				case createFirewall:
					need("", "FIREWALLS", 1)
				case createInstance, startInstance:
					i := a.instance
					region := regionOf(i.zone)
					cpus := float64(f.types[i.zone+"/"+i.machineType].GetGuestCpus())
					need(region, cpuMetric(i.machineType), cpus)
					need("", "CPUS_ALL_REGIONS", cpus)
					if i.public {
						need(region, "IN_USE_ADDRESSES", 1)
					}
					if a.do == createInstance {
						need(region, "INSTANCES", 1)
						space(i.zone, DiskKind{Type: f.p.cfg.boot(i.machineType)}, max(f.p.cfg.BootSizeGB, f.images[i.image].GetDiskSizeGb()))
					}
				}
			}
		}
	}
	return all
}

// cpuMetric is the quota that a machine type's processors count for.
func cpuMetric(machineType string) string {
	switch s := series(machineType); s {
	case "n1", "e2", "f1", "g1":
		return "CPUS"
	default:
		return strings.ToUpper(s) + "_CPUS"
	}
}

// short are the quotas that do not allow what is needed. One that the API does not tell is not judged.
func short(place string, need map[string]float64, quotas []*computepb.Quota) problems {
	var out problems
	for _, metric := range slices.Sorted(maps.Keys(need)) {
		for _, q := range quotas {
			if free := q.GetLimit() - q.GetUsage(); q.GetMetric() == metric && need[metric] > free {
				where := "region " + place
				if place == "" {
					where = "the project"
				}
				out.add(&platform.Error{What: fmt.Sprintf("%s in %s", metric, where), Err: fmt.Errorf("%w: %g are needed, %g of %g are free: %w", errNotEnough, need[metric], free, q.GetLimit(), ErrQuota),
					Next: "Ask for more at https://console.cloud.google.com/iam-admin/quotas, free some, or ask for less."})
			}
		}
	}
	return out
}
