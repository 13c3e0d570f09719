// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
)

var startCommand = command{
	synopsis: "Run an engine with CockroachDB's flags",
	usage:    "--store=path=PATH [--join=HOST:PORT,…] [options]",
	help: `Runs one engine in the foreground, as holdfast engine does, with the flags that users
of CockroachDB know. Without --join it is a cluster of one server.

Until there is gossip, --join lists every server of the cluster, this one too, alike on
each of them; they are called n1, n2 … in the order of their addresses, or as you name
them: --join=a=127.0.0.1:8300,b=127.0.0.2:8300.

  $ holdfast start --store=path=/data/1
  $ holdfast start --store=path=/data/1,attrs=ssd --listen-addr=127.0.0.1:8300 \
      --http-addr=127.0.0.1:8500 --join=127.0.0.1:8300,127.0.0.2:8300,127.0.0.3:8300
  $ holdfast start --store=path=/data/1 --wal-failover=path=/side --log-config-file=logs.yaml
  $ holdfast start --store=path=/data/1 --wal-failover=disabled,prev_path=/side
  $ holdfast start --store=path=/data/1,attrs=ssd --store=path=/data/2 --wal-failover=among-stores

Each store keeps a partition of its own: default on the first, then p2, p3 … A log that
failed over to a directory which is not in use any more is drained from there first, if
prev_path names it; stores need not be named.

With --certs-dir, which has ca.crt, node.crt and node.key (holdfast cert), servers prove
themselves to each other and the HTTP API is at --https-addr too, for clients with a
certificate. Then --listen-addr and --https-addr may be addresses that others reach;
plain HTTP stays on loopback. Certificates that are replaced are taken over on SIGHUP, or
within 10 s.

  $ holdfast start --store=path=/data/1 --certs-dir=certs --listen-addr=10.0.0.1:8300 \
      --join=a=10.0.0.1:8300,b=10.0.0.2:8300,c=10.0.0.3:8300

Environment: HOLDFAST_WAL_FAILOVER is --wal-failover where that is not given.

` + logsHelp,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		s := &start{env: env}
		flags.Var(&s.stores, "store", "a `store`, path=P[,attrs=A:B]; may be repeated")
		flags.StringVar(&s.failover, "wal-failover", "", "`mode`: among-stores | path=P | disabled, each with any number of ,prev_path=Q")
		flags.Var(&s.join, "join", "the `servers`, host:port with commas; may be repeated")
		flags.StringVar(&s.listen, "listen-addr", "", "`address` of the server RPC (default 127.0.0.1:8300)")
		flags.StringVar(&s.advertise, "advertise-addr", "", "`address` by which the other servers reach it (default --listen-addr)")
		flags.StringVar(&s.http, "http-addr", "", "`address` of the plain HTTP API (default port 8500 on the address of --listen-addr)")
		flags.StringVar(&s.https, "https-addr", "", "`address` of the HTTP API over TLS (default port 8501 on the address of --listen-addr)")
		flags.StringVar(&s.cluster, "cluster-name", "", "`name` of the cluster (default holdfast)")
		flags.StringVar(&s.level, "log-level", "", "`level` of the log: trace, debug, info, warn or error")
		flags.StringVar(&s.cache, "cache", "", "accepted and without meaning: all keys are in memory anyway")
		flags.StringVar(&s.locality, "locality", "", "accepted and without effect yet")
		flags.StringVar(&s.certs, "certs-dir", "", "`directory` of certificates; without one there is no TLS")
		flags.StringVar(&s.logs, "log-config-file", "", "logs.yaml, a `file`")
		flags.BoolVar(&s.insecure, "insecure", false, "accepted: without --certs-dir there is no TLS, and an engine listens on loopback only")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if _, err := s.file(); err != nil {
				return err
			}
			return runEngine(ctx, env, s.load)
		}
	},
}

type start struct {
	env                                          *Env
	stores, join                                 words
	failover, listen, advertise, http, https     string
	cluster, level, cache, locality, certs, logs string
	insecure                                     bool
}

func (s *start) load() (*config.Config, error) {
	f, err := s.file()
	if err != nil {
		return nil, err
	}
	c, err := complete(f)
	if err != nil {
		return nil, err
	}
	if s.cache != "" {
		c.Warnings = append(c.Warnings, "--cache has no meaning here: all keys are in memory")
	}
	if s.locality != "" {
		c.Warnings = append(c.Warnings, "--locality="+s.locality+" has no effect yet: nothing is placed by locality")
	}
	if len(s.join) == 0 {
		c.Warnings = append(c.Warnings, "there is no --join: this is a cluster of one server")
	}
	return c, nil
}

// file turns the flags into the keys of a configuration.
func (s *start) file() (*config.File, error) {
	if s.insecure && s.certs != "" {
		return nil, usage("--insecure and --certs-dir=%s contradict each other: leave one out", s.certs)
	}
	if len(s.stores) == 0 {
		return nil, usage("--store is needed: --store=path=/data/1")
	}
	failover, err := absoluteFailover(cmp.Or(s.failover, s.env.Getenv("HOLDFAST_WAL_FAILOVER")))
	if err != nil {
		return nil, err
	}
	f := &config.File{
		Cluster:     config.Cluster{Name: s.cluster},
		WALFailover: failover,
		LogLevel:    s.level, LogConfigFile: s.logs,
	}
	for _, v := range s.stores {
		st, err := config.ParseStore(v)
		if err != nil {
			return nil, err
		}
		if st.Path, err = filepath.Abs(st.Path); err != nil {
			return nil, err
		}
		f.Stores = append(f.Stores, st)
	}
	for _, j := range s.join {
		for entry := range strings.SplitSeq(j, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				f.RetryJoin = append(f.RetryJoin, entry)
			}
		}
	}
	if f.BindAddr, f.Ports.Server, err = hostPort("listen-addr", s.listen); err != nil {
		return nil, err
	}
	if f.Addresses.HTTP, f.Ports.HTTP, err = hostPort("http-addr", s.http); err != nil {
		return nil, err
	}
	if f.Addresses.HTTPS, f.Ports.HTTPS, err = hostPort("https-addr", s.https); err != nil {
		return nil, err
	}
	if s.certs != "" {
		if f.CertsDir, err = filepath.Abs(s.certs); err != nil {
			return nil, err
		}
	}
	host, port, err := hostPort("advertise-addr", s.advertise)
	if err != nil {
		return nil, err
	}
	if port != 0 && port != cmp.Or(f.Ports.Server, 8300) {
		return nil, usage("--advertise-addr=%s: its port must be that of --listen-addr", s.advertise)
	}
	f.AdvertiseAddr = host
	return f, nil
}

// absoluteFailover makes the paths of --wal-failover absolute, as those of --store.
func absoluteFailover(value string) (string, error) {
	f, side, err := config.ParseFailover(value)
	if err != nil {
		return "", err
	}
	if side != nil {
		if side.Path, err = filepath.Abs(side.Path); err != nil {
			return "", err
		}
	}
	for i := range f.PrevPaths {
		if f.PrevPaths[i], err = filepath.Abs(f.PrevPaths[i]); err != nil {
			return "", err
		}
	}
	return config.FailoverString(f, side), nil
}

// hostPort splits host[:port]; what is left out is zero.
func hostPort(name, value string) (host string, port int, err error) {
	if value == "" {
		return "", 0, nil
	}
	host, p, err := net.SplitHostPort(value)
	if err != nil { // no port
		return strings.Trim(value, "[]"), 0, nil //nolint:nilerr // the whole value is the host then
	}
	if p == "" {
		return host, 0, nil
	}
	if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
		return "", 0, usage("--%s=%s: %s", name, value, fmt.Sprintf("%q is not a port", p))
	}
	return host, port, nil
}
