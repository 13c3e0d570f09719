// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	mcli "github.com/hashicorp/cli"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

// Env is the world that a command line works in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Version        string

	// settle, where set, waits a moment for what was written to Stderr.
	settle func()
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	// exitConfig is sysexits' EX_CONFIG: an engine whose configuration is refused. The next
	// start would refuse it too, so systemd makes none.
	exitConfig = 78
)

// configError is why a configuration is refused.
type configError struct{ error }

// Unwrap returns the error itself, which has what to do.
func (e configError) Unwrap() error { return e.error }

// errUsage classes errors of calling a command in a wrong way.
var errUsage = errors.New("wrong usage")

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// command is one command. make builds it anew for every run: it defines the flags
// and returns what runs once they are parsed.
type command struct {
	synopsis string
	// usage is what follows the command's name, "[options] KEY".
	usage string
	// help is the text below the usage, examples in it.
	help string
	make func(env *Env, flags *flag.FlagSet) func(ctx context.Context, args []string) error
}

// commands are all commands by name. A name that others begin with needs an
// entry of its own, without make.
func commands() map[string]command {
	return map[string]command{
		"agent":                    agentCommand,
		"agent install":            agentInstallCommand,
		"agent connect":            agentConnectCommand,
		"agent remove":             agentRemoveCommand,
		"engine":                   engineCommand,
		"start":                    startCommand,
		"cert":                     {synopsis: "Make certificates", help: certHelp},
		"cert create-ca":           certCreateCACommand,
		"cert retire-ca":           certRetireCACommand,
		"cert create-node":         certCreateNodeCommand,
		"cert create-client":       certCreateClientCommand,
		"cert request":             certRequestCommand,
		"cert host-key":            certHostKeyCommand,
		"cert export-ca-key":       certExportCAKeyCommand,
		"cert import-ca-key":       certImportCAKeyCommand,
		"cert list":                certListCommand,
		"devices":                  devicesCommand,
		"tls":                      {synopsis: "Look at and replace the certificates of a cluster", help: tlsHelp},
		"tls rotate":               tlsRotateCommand,
		"tls status":               tlsStatusCommand,
		"provision":                provisionCommand,
		"image":                    {synopsis: "Prepare a machine that becomes an image", help: imageHelp},
		"image prepare":            imagePrepareCommand,
		"image seal":               imageSealCommand,
		"status":                   statusCommand,
		"node":                     {synopsis: "Look at nodes", help: "Look at the nodes of a cluster."},
		"node status":              nodeStatusCommand,
		"kv":                       {synopsis: "Read and write keys", help: kvHelp},
		"kv get":                   kvGetCommand,
		"kv put":                   kvPutCommand,
		"kv delete":                kvDeleteCommand,
		"settings":                 {synopsis: "Read and change cluster settings", help: settingsHelp},
		"settings get":             settingsGetCommand,
		"settings set":             settingsSetCommand,
		"drill":                    {synopsis: "Make a fault on purpose", help: drillHelp},
		"drill stall":              drillStallCommand,
		"operator":                 {synopsis: "Tools for operators", help: "Tools for operators of a cluster."},
		"operator raft":            {synopsis: "Look at raft", help: "Look at the raft group of a partition."},
		"operator raft list-peers": listPeersCommand,
		"debug":                    {synopsis: "Look into the files of a stopped engine", help: "Look into the files of a stopped engine. Nothing is changed."},
		"debug log":                {synopsis: "Look at a raft log", help: debugLogHelp},
		"debug log verify":         debugLogVerifyCommand,
		"debug log dump":           debugLogDumpCommand,
		"version":                  versionCommand,
	}
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, args []string, env Env) int {
	if slices.Equal(args, thawerArgs) {
		return runThawer(&env)
	}
	factories := map[string]mcli.CommandFactory{}
	for name, c := range commands() {
		factories[name] = func() (mcli.Command, error) { return &adapter{ctx: ctx, env: &env, name: name, command: c}, nil }
	}
	app := &mcli.CLI{
		Name: "holdfast", Version: versionLine(env.Version), Args: args, Commands: factories,
		HelpFunc: mcli.BasicHelpFunc("holdfast"), HelpWriter: env.Stdout, ErrorWriter: env.Stderr,
	}
	code, err := app.Run()
	if err != nil {
		fmt.Fprintf(env.Stderr, "Error: %v\n", err)
		return exitFailed
	}
	const noSuchCommand = 127
	if code == mcli.RunResultHelp || code == noSuchCommand {
		return exitUsage
	}
	return code
}

// adapter makes a command what hashicorp/cli knows.
type adapter struct {
	ctx  context.Context //nolint:containedctx // mcli.Command.Run takes none
	env  *Env
	name string
	command
}

// Synopsis implements mcli.Command.
func (a *adapter) Synopsis() string { return a.synopsis }

// Help implements mcli.Command.
func (a *adapter) Help() string {
	var b strings.Builder
	if a.make == nil {
		fmt.Fprintf(&b, "Usage: holdfast %s <subcommand> [options]\n\n%s", a.name, strings.TrimSpace(a.help))
		return b.String() // the subcommands are added by hashicorp/cli
	}
	fmt.Fprintf(&b, "Usage: holdfast %s %s\n\n%s\n", a.name, a.usage, strings.TrimSpace(a.help))
	flags := flag.NewFlagSet(a.name, flag.ContinueOnError)
	a.make(a.env, flags)
	var options strings.Builder
	flags.SetOutput(&options)
	flags.PrintDefaults()
	if options.Len() > 0 {
		fmt.Fprintf(&b, "\nOptions:\n\n%s", options.String())
	}
	return strings.TrimRight(b.String(), "\n")
}

// Run implements mcli.Command.
func (a *adapter) Run(args []string) int {
	if a.make == nil {
		return mcli.RunResultHelp
	}
	flags := flag.NewFlagSet(a.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is printed below, the help is asked for by its own flag
	run := a.make(a.env, flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(a.env.Stdout, a.Help())
		return exitOK
	case err != nil:
		err = usage("%w", err)
	default:
		err = run(a.ctx, flags.Args())
	}
	code := a.report(err)
	if a.env.settle != nil {
		a.env.settle()
	}
	return code
}

func (a *adapter) report(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(a.env.Stderr, "Error: holdfast %s: %s\nSee `holdfast %s -help`.\n",
			a.name, strings.TrimPrefix(err.Error(), errUsage.Error()+": "), a.name)
		return exitUsage
	}
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		fmt.Fprintf(a.env.Stderr, "Error: %s: %s\n%s\n", e.What, e.Why, e.Next)
		if _, ok := errors.AsType[configError](err); ok {
			return exitConfig
		}
		return exitFailed
	}
	if r, ok := errors.AsType[*pki.Refusal](err); ok {
		fmt.Fprintf(a.env.Stderr, "Error: the certificates are refused: %v\n%s\n", r, r.Next)
		return exitFailed
	}
	fmt.Fprintf(a.env.Stderr, "Error: %v\n", err)
	if next := advice(err); next != "" {
		fmt.Fprintln(a.env.Stderr, next)
	}
	return exitFailed
}

// advice is what to do about an error of a client.
func advice(err error) string {
	switch {
	case errors.Is(err, api.ErrNotReached):
		return "Name a running node with -http-addr or HOLDFAST_HTTP_ADDR."
	case errors.Is(err, api.ErrOutcomeUnknown):
		return "Read the key before you write it again."
	case errors.Is(err, agentapi.ErrUnreachable):
		return "Start one with `holdfast agent -dir DIR`, or name the socket of one that runs; `-help` says with which flag."
	}
	return ""
}

// words is a flag that may be given several times.
type words []string

func (w *words) String() string     { return strings.Join(*w, ",") }
func (w *words) Set(v string) error { *w = append(*w, v); return nil }

// noArgs refuses arguments where a command takes none.
func noArgs(args []string) error {
	if len(args) > 0 {
		return usage("unexpected argument %q: flags stand before arguments, and this command takes none", args[0])
	}
	return nil
}
