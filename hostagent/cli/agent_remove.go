// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"flag"
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agent"
)

var agentRemoveCommand = command{
	synopsis: "Take a node from its cluster: the opposite of install and provision",
	usage:    "-cluster-id ID [-keep-data]",
	help: `Stops and disables agent and engine, unmounts the disks of the node, takes the signature
from those file systems that are proven to be this node's, so that the disks are blank, and
removes units, configuration and records. ALL DATA OF THE NODE IS LOST, unless -keep-data is
given. The node's cluster does not know: remove the server from it first.

The id of the cluster has to be given. A node of another cluster, somebody else's mount on one
of the node's mount points, or another cluster's store on one of its disks ends it before
anything is changed. Interrupted, it can be run again, and where nothing is left it does
nothing. This binary, the engine's user, its logs and mount points stay, and sysctl values until
the next boot. Where neither claim nor spec says whose node it is, records end it too.

  $ sudo holdfast agent remove -cluster-id 6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		id := flags.String("cluster-id", "", "the `id` of the cluster that the node is of; needed")
		keep := flags.Bool("keep-data", false, "leave the file systems as they are, unmounted")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *id == "" {
				return usage("-cluster-id ID is needed")
			}
			if err := needRoot("what the agent of a machine made"); err != nil {
				return err
			}
			return agent.Remove(ctx, agent.Removal{ClusterID: *id, Dir: defaultDir, KeepData: *keep,
				Report: func(text string) { fmt.Fprintln(env.Stdout, text) }})
		}
	},
}
