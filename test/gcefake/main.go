// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Command gcefake serves an emulated Google Cloud project on a loopback port:
// the part of Compute Engine's REST API that package emulator has. What is in
// the project is gone when it ends. With -machines, instances are
// containers or QEMU guests, in a network of their own that the program runs itself again in.
//
// It is run from within the repository, since it reads Google's discovery
// document from the module cache that the repository's go.mod leads to.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/containers"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/discovery"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/guests"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	var exit exitCode
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case err != nil:
		fmt.Fprintln(os.Stderr, "gcefake:", err)
		os.Exit(1)
	}
}

// exitCode is that of a command that was run, or of the program inside.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run serves until the context ends, or the command that args end with. The endpoint is the only line on out.
func run(ctx context.Context, args []string, out, messages io.Writer) error {
	var c emulator.Config
	var faults []emulator.Fault
	flags := flag.NewFlagSet("gcefake", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, "gcefake [FLAGS] [-- COMMAND ARGUMENTS]\n\nServes an emulated project of Google's; with a command, until that ends, which finds it by HOLDFAST_GCE_ENDPOINT.\n\n")
		flags.PrintDefaults()
	}
	listen := flags.String("listen", "127.0.0.1:8090", "loopback address to serve on; port 0 is a free one")
	kind := flags.String("machines", "none", "what instances are: none (records), containers or guests (as root; Debian with systemd, in containers or by QEMU, in a network of their own)")
	pidFile := flags.String("pid", "", "file for the process whose network containers are in: nsenter --net --target PID COMMAND")
	quiet := flags.Bool("quiet", false, "do not write a line for every call")
	flags.StringVar(&c.Project, "project", "holdfast-test", "the project's ID")
	flags.Func("zones", "the project's zones, separated by commas (two in each of three regions)", func(text string) error {
		c.Zones = strings.Split(text, ",")
		return nil
	})
	flags.DurationVar(&c.Delay, "delay", 2*time.Second, "from an operation's acceptance until it is DONE")
	flags.DurationVar(&c.Latency, "latency", 0, "before every answer")
	flags.StringVar(&c.Token, "token", "", "bearer token that every request must carry")
	flags.BoolVar(&c.WithoutDefaultNetwork, "no-default-network", false, "leave out the network that a new project has")
	flags.Func("fault", "METHOD:CALL:EFFECT, as instances.insert:1:exhausted; may be repeated (effects: "+strings.Join(effectNames(), ", ")+")", func(text string) error {
		f, err := parseFault(text)
		faults = append(faults, f)
		return err
	})
	var argv []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, argv = args[:i], args[i+1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: a command comes after --", flags.Arg(0))
	}
	backend, ok := backends[*kind]
	if !ok {
		return fmt.Errorf("-machines %s: it is one of %s", *kind, strings.Join(slices.Sorted(maps.Keys(backends)), ", "))
	}
	if backend.prepare != nil && !world.Inside() {
		return enter(ctx, backend.prepare, *pidFile)
	}
	doc, err := discovery.Shared()
	if err != nil {
		return fmt.Errorf("%w\nRun gcefake from within the repository", err)
	}
	for _, f := range faults {
		if f.Method != "" && doc.Method(f.Method) == nil {
			return fmt.Errorf("-fault: the API has no method %s", f.Method)
		}
	}
	c.Document = doc
	if !*quiet {
		c.OnCall = logger(messages)
	}
	if backend.open != nil {
		machines, closeAll, err := open(ctx, backend)
		if err != nil {
			return err
		}
		defer func() {
			if err := closeAll(); err != nil {
				fmt.Fprintln(messages, err)
			}
		}()
		c.Machines = machines
	}
	server, err := emulator.New(c)
	if err != nil {
		return err
	}
	defer server.Close()
	for _, f := range faults {
		server.Inject(f)
	}
	return serve(ctx, server, *listen, c.Project, doc.Revision, argv, out, messages)
}

// machines are what stands behind instances.
type machines interface {
	emulator.Machines
	io.Closer
}

// backend is a kind of machines: what they need is built outside of the world that they are in.
type backend struct {
	prepare func(context.Context) error
	open    func(context.Context, *world.World) (machines, error)
}

var backends = map[string]backend{
	"none":       {},
	"containers": {containers.Prepare, func(ctx context.Context, w *world.World) (machines, error) { return containers.New(ctx, w) }},
	"guests":     {guests.Prepare, func(ctx context.Context, w *world.World) (machines, error) { return guests.New(ctx, w) }},
}

// open makes the world, and the machines in it.
func open(ctx context.Context, b backend) (machines, func() error, error) {
	here, err := world.Open()
	if err != nil {
		return nil, nil, err
	}
	m, err := b.open(ctx, here)
	if err != nil {
		return nil, nil, errors.Join(err, here.Close())
	}
	return m, func() error { return errors.Join(m.Close(), here.Close()) }, nil
}

// enter runs the program again in a network of its own.
func enter(ctx context.Context, prepare func(context.Context) error, pidFile string) error {
	if err := prepare(ctx); err != nil {
		return err
	}
	code, err := world.Enter(ctx, func(pid int) error {
		if pidFile == "" {
			return nil
		}
		return os.WriteFile(pidFile, []byte(strconv.Itoa(pid)+"\n"), 0o644) //nolint:gosec // no secret
	})
	if err == nil && code != 0 {
		err = exitCode(code)
	}
	return err
}

// command runs a command that finds the emulator, and is its exit code.
func command(ctx context.Context, argv []string, endpoint string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // whoever starts the program says which
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "HOLDFAST_GCE_ENDPOINT="+endpoint)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitCode(exit.ExitCode())
	}
	return err
}

func serve(ctx context.Context, server *emulator.Server, listen, project, revision string, argv []string, out, messages io.Writer) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("-listen %s: the emulator is for this machine only; use an address such as 127.0.0.1", listen)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	endpoint := "http://" + l.Addr().String()
	fmt.Fprintf(messages, usage, project, revision, endpoint)
	fmt.Fprintln(out, endpoint)
	web := &http.Server{Handler: server, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1) // one, when Serve returns
	go func() { served <- web.Serve(l) }()
	ended := make(chan error, 1) // one, of the command
	if len(argv) > 0 {
		go func() { ended <- command(ctx, argv, endpoint) }()
	}
	var code error
	select {
	case err := <-served:
		return err
	case code = <-ended:
	case <-ctx.Done():
	}
	server.Close() // ends what requests may be waiting for
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(code, web.Shutdown(stop))
}

// usage says how clients get here: project, revision, endpoint.
const usage = `Project %[1]s, checked against Google's document of %[2]s. Nothing is kept.
  Go:         option.WithEndpoint("%[3]s"), option.WithoutAuthentication()
  gcloud:     gcloud config set api_endpoint_overrides/compute %[3]s/compute/v1/
  Holdfast:   HOLDFAST_GCE_ENDPOINT=%[3]s
  Terraform:  provider "google" { compute_custom_endpoint = "%[3]s/compute/v1/", access_token = "none" }
  curl:       curl %[3]s/compute/v1/projects/%[1]s
`

// logger writes a line for every call.
func logger(to io.Writer) func(emulator.Call) {
	var mu sync.Mutex
	return func(c emulator.Call) {
		line := fmt.Sprintf("%s %d %s %s", c.Time.Format(time.TimeOnly), c.Status, c.Method, c.Path)
		if c.Status == 0 {
			line = fmt.Sprintf("%s --- %s %s", c.Time.Format(time.TimeOnly), c.Method, c.Path)
		}
		if c.Name != "" && !strings.Contains(c.Path, c.Name) {
			line += " " + c.Name
		}
		if c.Replayed {
			line += " (again)"
		}
		if c.Fault {
			line += " (fault)"
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(to, line)
		for _, v := range c.Violations {
			fmt.Fprintln(to, "        ", v)
		}
	}
}
