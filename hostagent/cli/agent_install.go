// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// installWait is how long an agent may take to answer, on a machine that is busy.
const installWait = time.Minute

var agentInstallCommand = command{
	synopsis: "Make this machine a node: its agent as a service",
	usage:    "-node NAME [-log-file FILE]",
	help: `Writes the unit of the host agent, which runs this binary from where it is, enables and
starts it, and waits until it answers. An agent that runs from an older unit or binary is
started again; its engine stays as it is. Where everything is in place, nothing happens.

Needs root, and systemd ` + strconv.Itoa(units.MinSystemd) + ` or newer. The agent makes nothing of the machine before it has a
spec: see holdfast provision.

  $ sudo install holdfast /usr/local/bin && sudo holdfast agent install -node a`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		node := flags.String("node", "", "the node's `name`; needed")
		logFile := flags.String("log-file", "", "have the agent append its log to this `file`, which is rotated, instead of the journal")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *node == "" {
				return usage("-node NAME is needed")
			}
			i, err := newInstallation(ctx, *node)
			if err != nil {
				return err
			}
			i.host.AgentLog = *logFile
			return i.do(ctx, func(text string) { fmt.Fprintln(env.Stdout, text) })
		}
	},
}

// installation is the agent's service of this machine.
type installation struct {
	host units.Host
	sys  units.Local
}

// newInstallation looks at whether this machine can be a node.
func newInstallation(ctx context.Context, node string) (*installation, error) {
	if err := needRoot("the agent of a machine"); err != nil {
		return nil, err
	}
	i := &installation{}
	next := "Use a machine that systemd " + minSystemd + " or newer has booted: Debian 12, Ubuntu 23.04, RHEL 9.2 and newer ones do. Without it, run an agent by hand: holdfast agent -dir DIR."
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil, &agentapi.Error{What: "the agent is not installed", Why: "systemd does not run here", Next: next}
	}
	version, err := units.Version(ctx, i.sys)
	if err != nil {
		return nil, &agentapi.Error{What: "the agent is not installed", Why: err.Error(), Next: next}
	}
	binary, err := os.Executable()
	if err == nil {
		binary, err = filepath.EvalSymlinks(binary)
	}
	if err != nil {
		return nil, fmt.Errorf("find the path of this program: %w", err)
	}
	i.host = units.Host{Node: node, Binary: binary, Systemd: version}
	return i, nil
}

var minSystemd = strconv.Itoa(units.MinSystemd)

// needRoot refuses to do for another user what only root can.
func needRoot(what string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &agentapi.Error{What: what + " is root's", Why: fmt.Sprintf("this is user %d", os.Geteuid()), Next: "Run it with sudo."}
}

// do brings the service to what it should be, and waits until the agent answers.
func (i *installation) do(ctx context.Context, say func(string)) error {
	set, err := units.MakeAgent(i.host)
	if err != nil {
		return err
	}
	is, err := i.sys.Observe(ctx, set)
	if err != nil {
		return err
	}
	actions, err := units.MakePlan(set, is)
	if err != nil {
		return err
	}
	restart := ""
	if err := units.Do(ctx, i.sys, actions, func(a units.Action) {
		if a.Kind == units.NeedRestart {
			restart = a.Why
			return
		}
		say(a.String())
	}); err != nil {
		return err
	}
	if restart == "" {
		if restart, err = i.otherBinary(ctx); err != nil {
			return err
		}
	}
	if restart != "" {
		say("restart " + units.AgentUnit + ": " + restart)
		if _, err := i.sys.Run(ctx, "systemctl", "restart", units.AgentUnit); err != nil {
			return err
		}
	}
	return i.answers(ctx)
}

// otherBinary says why, where the agent runs from another file than the one that is on
// disk now.
func (i *installation) otherBinary(ctx context.Context) (string, error) {
	out, err := i.sys.Run(ctx, "systemctl", "show", "--property=MainPID", "--value", "--", units.AgentUnit)
	if err != nil {
		return "", err
	}
	pid := strings.TrimSpace(out)
	if pid == "" || pid == "0" {
		return "", nil // systemd starts it anew, from what is there
	}
	runs, err := os.Stat("/proc/" + pid + "/exe") // the file itself, whatever has its name now
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // it has just ended
	}
	if err != nil {
		return "", err
	}
	is, err := os.Stat(i.host.Binary)
	if err != nil {
		return "", err
	}
	if os.SameFile(runs, is) {
		return "", nil
	}
	return "it runs from another binary than " + i.host.Binary, nil
}

// answers waits until the agent answers.
func (i *installation) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installWait)
	defer cancel()
	client := agentapi.NewClient(units.DefaultSocket)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := client.Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := i.sys.Run(context.WithoutCancel(ctx), "journalctl", "--no-pager", "--lines=10", "--output=cat", "--unit="+units.AgentUnit)
			return &agentapi.Error{What: fmt.Sprintf("the agent does not answer after %v", installWait), Why: fmt.Sprintf("%v; its log ends:\n%s", err, strings.TrimSpace(log)),
				Next: "Mend what its log says and run this again; it goes on."}
		}
	}
}
