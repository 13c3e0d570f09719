// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout/disk"
)

var provisionCommand = command{
	synopsis: "Show what would be done to this machine's disks",
	usage:    "-dry-run [options] SPEC.json",
	help: `Compares the disks of this machine with a spec and prints what would be done: which
device each store and the side disk has, file systems to make or to grow, mounts,
directories. Nothing is written; doing it is not built yet, which is why -dry-run is
needed. Looking into devices takes root.

A device with a foreign file system, a partition table, another mount or a holder, one that
is too small, missing, read-only or another node's is refused, with the field and both
values; the exit status is 1 then.

  $ holdfast provision -dry-run disks.json
  $ holdfast provision -dry-run -json disks.json

where disks.json is, for example:

  {"disks": [
    {"field": "stores.0", "match": {"serial": "S4EWNX0R"}, "fstype": "ext4", "label": "hf-data",
     "mount": "/srv/holdfast/data", "directories": [{"path": "store", "uid": 900, "gid": 900, "mode": "0700"}]},
    {"field": "side_disk", "match": {"only_blank": true, "min_size": 26843545600}, "fstype": "xfs",
     "label": "hf-side", "mount": "/srv/holdfast/side"}]}`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		dry := flags.Bool("dry-run", false, "only print the plan; needed")
		asJSON := flags.Bool("json", false, "print JSON")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usage("one SPEC.json is needed, %d given", len(args))
			}
			if !*dry {
				return usage("only the plan is built so far: give -dry-run")
			}
			return provisionPlan(ctx, env, args[0], *asJSON)
		}
	},
}

// errRefused ends a command whose refusals have been printed.
var errRefused = errors.New("the disks are not what the spec expects; nothing would be done")

func provisionPlan(ctx context.Context, env *Env, file string, asJSON bool) error {
	plan, err := planFor(ctx, file)
	if refusals := disk.Refusals(err); len(refusals) > 0 {
		for _, r := range refusals {
			fmt.Fprintf(env.Stderr, "%v\n  %s\n", r, r.Next)
		}
		return errRefused
	}
	if err != nil {
		return err
	}
	if !asJSON {
		return plan.Text(env.Stdout)
	}
	out := json.NewEncoder(env.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(plan)
}

func planFor(ctx context.Context, file string) (disk.Plan, error) {
	f, err := os.Open(file)
	if err != nil {
		return disk.Plan{}, err
	}
	defer f.Close()
	spec, err := disk.ReadSpec(f)
	if err != nil {
		return disk.Plan{}, fmt.Errorf("%s: %w", file, err)
	}
	return disk.Dry(ctx, disk.Host{Roots: blockdev.Host()}, spec)
}
