// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/provision"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/seal"
)

const imageHelp = `What a machine needs before an image is made of its disk: its packages and files, by
provisioning steps, and then none of what is its alone. The resource holdfast_image does both
on a machine of its own; with another tool that makes images, call them yourself:

  $ sudo holdfast image prepare steps.json
  $ sudo holdfast image seal -yes && sudo poweroff`

// imageRecord is where it is on record which steps were done: the machine's next start
// knows none of it.
const imageRecord = "/run/holdfast-image"

// recipe is what image prepare reads.
type recipe struct {
	Steps   []agentapi.Step  `json:"steps"`
	Secrets agentapi.Secrets `json:"secrets,omitempty"`
}

var imagePrepareCommand = command{
	synopsis: "Run provisioning steps on a machine that becomes an image",
	usage:    "[-json] STEPS.json",
	help: `Runs the steps as root, in their order, and ends at the first one that fails. Again, it goes on
from there: what was done is on record until the machine's next start. With - the steps are read
from standard input, which is the place for secrets.

  $ sudo holdfast image prepare steps.json

where steps.json is, for example:

  {"steps": [{"name": "packages", "timeout": "10m", "retries": 2,
              "shell": {"inline": ["apt-get update -q", "apt-get install -y -q xfsprogs"]}},
             {"name": "motd", "file": {"path": "/etc/motd", "content": "made by holdfast\n"}}]}`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		asJSON := flags.Bool("json", false, "print each event as a line of JSON")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usage("one STEPS.json is needed, %d given", len(args))
			}
			steps, err := readSteps(env.Stdin, args[0])
			if err != nil {
				return err
			}
			if err := needRoot("preparing a machine"); err != nil {
				return err
			}
			tell := func(e provision.Event) { fmt.Fprintln(env.Stdout, eventLine(e)) }
			if *asJSON {
				out := json.NewEncoder(env.Stdout)
				tell = func(e provision.Event) { _ = out.Encode(eventOf(e)) } // as Fprintln: the next write fails, too
			}
			_, err = provision.NewHost(imageRecord, "image").Run(ctx, steps, tell)
			if errors.Is(err, provision.ErrBusy) {
				return &agentapi.Error{What: "the machine is not prepared", Why: err.Error(), Next: "Wait for it to end."}
			}
			return err
		}
	},
}

// readSteps reads steps and their secrets from a file, or from in where that is -.
func readSteps(in io.Reader, file string) ([]provision.Step, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // read only
		in = f
	}
	dec := json.NewDecoder(io.LimitReader(in, agentapi.MaxBody))
	dec.DisallowUnknownFields()
	var r recipe
	if err := dec.Decode(&r); err != nil {
		return nil, &agentapi.Error{What: "the provisioning steps cannot be read", Why: err.Error(), Next: "See holdfast image prepare -help for their form."}
	}
	steps, err := provision.FromSpec(r.Steps, r.Secrets)
	if err != nil {
		return nil, err
	}
	return steps, provision.Validate(steps)
}

// event is an event as JSON has it.
type event struct {
	Step    string `json:"step"`
	Event   string `json:"event"`
	Attempt int    `json:"attempt,omitempty"`
	Error   string `json:"error,omitempty"`
}

func eventOf(e provision.Event) event {
	out := event{Step: e.Decision.Step, Event: string(e.Kind), Attempt: e.Attempt}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	return out
}

// eventLine is an event as a person reads it.
func eventLine(e provision.Event) string {
	switch e.Kind {
	case provision.EventRetry:
		return fmt.Sprintf("step %s: attempt %d failed, once more in %v: %v", e.Decision.Step, e.Attempt, e.Wait, e.Err)
	case provision.EventStart:
		return fmt.Sprintf("step %s: %s", e.Decision.Step, e.Decision.Why)
	}
	return fmt.Sprintf("step %s: %s", e.Decision.Step, e.Kind)
}

var imageSealCommand = command{
	synopsis: "Take from this machine what is its alone, for an image of its disk",
	usage:    "-yes [-user NAME]",
	help: `Removes the host keys, the machine's id, the seed of its random numbers, its journal, the record
of image prepare, and the authorized_keys of root and of the user who logged in. All of it is made
again where the image starts. It is the last thing to do: nobody can log in afterwards. A machine
that is a node is refused.

  $ sudo holdfast image seal -yes && sudo poweroff`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		sure := flags.Bool("yes", false, "needed: nobody can log in to the machine afterwards")
		name := flags.String("user", env.Getenv("SUDO_USER"), "`user` who logged in to prepare the machine")
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if !*sure {
				return usage("-yes is needed: nobody can log in to the machine afterwards")
			}
			if err := needRoot("sealing a machine"); err != nil {
				return err
			}
			homes := []string{"/root"}
			if *name != "" {
				u, err := user.Lookup(*name)
				if err != nil {
					return usage("-user %s: %v", *name, err)
				}
				homes = append(homes, u.HomeDir)
			}
			removed, err := seal.Seal("/", homes)
			for _, file := range removed {
				fmt.Fprintln(env.Stdout, "removed", file)
			}
			unix.Sync()
			return err
		}
	},
}
