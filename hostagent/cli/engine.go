// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/logs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

// shutdownBound is how long an engine takes to stop by itself. The host agent
// waits longer before it kills.
const shutdownBound = 8 * time.Second

var engineCommand = command{
	synopsis: "Run an engine from configuration files",
	usage:    "-config-file FILE | -config-dir DIR [options]",
	help: `Runs one engine in the foreground until SIGINT or SIGTERM. Configuration is HCL or
JSON; later files win over earlier ones, and files of a directory are read by name.
A Consul server's own configuration works too: keys that are known are honoured, the
others are named in one warning.

  $ holdfast engine -config-file /etc/holdfast/engine.hcl
  $ holdfast engine -config-dir /etc/consul.d

Keys:

  node_name, cluster { name, id }, datacenter, bind_addr, advertise_addr, client_addr,
  addresses { http, https }, ports { server, http, https }, server, bootstrap, bootstrap_expect,
  retry_join = ["host:port" …]       every server, this one too (there is no gossip yet)
  servers [{ name, address, voter }]  the same with names
  stores [{ path, attrs }] or data_dir
  raft_logstore { backend = "wal"|"boltdb", disable_log_cache,
    verification { enabled, interval }, boltdb { no_freelist_sync }, wal { segment_size_mb } }
  wal_failover = "among-stores" | "path=P" | "disabled", each with any number of ",prev_path=Q"
  certs_dir, or ca_file, cert_file and key_file; verify_incoming, verify_incoming_https
  log_level, log_config_file
  leave_on_terminate, skip_leave_on_interrupt, rejoin_after_leave

SIGHUP reads the files again and takes over the log's keys and the rules for leaving, and
certificates; everything else needs a restart, and the log says so. SIGINT and SIGTERM stop the
engine; leaving the cluster is not built yet.

` + logsHelp,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var files, dirs words
		flags.Var(&files, "config-file", "configuration `file`; may be repeated")
		flags.Var(&dirs, "config-dir", "`directory` of which every *.hcl and *.json is read; may be repeated")
		logFile := flags.String("log-config-file", "", "logs.yaml, a `file`; it wins over log_config_file")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return runEngine(ctx, env, func() (*config.Config, error) {
				file, unknown, err := config.Read(files, dirs)
				if err != nil {
					return nil, err
				}
				if file.WALFailover == "" {
					file.WALFailover = env.Getenv("HOLDFAST_WAL_FAILOVER")
				}
				file.LogConfigFile = cmp.Or(*logFile, file.LogConfigFile)
				c, err := complete(file)
				if err == nil && len(unknown) > 0 {
					c.Warnings = append(c.Warnings, "these keys are not known here and are ignored: "+strings.Join(unknown, ", "))
				}
				return c, err
			})
		}
	},
}

// runEngine runs an engine with what load returns, which is asked again on SIGHUP.
func runEngine(ctx context.Context, env *Env, load func() (*config.Config, error)) error {
	c, err := load()
	if _, refused := errors.AsType[*agentapi.Error](err); refused {
		return configError{err}
	}
	if err != nil {
		return err
	}
	sinks, stalled, err := openLogs(env, c)
	if err != nil {
		return err
	}
	log := sinks.Logger()
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	warnNotBuilt(log, c)
	tuneMemory(env)
	// From here on a signal is an orderly end, also while stores are opened.
	signals := make(chan os.Signal, 4) // from the runtime; more than that in a moment are the same wish
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	certs, err := openCerts(c, log)
	if err != nil {
		return err
	}
	if err := identify(c, log); err != nil {
		return cannotStart(err)
	}
	cfg := nodeConfig(c, env.Version, log)
	if cfg.MaxSyncDefault, err = maxSyncDefault(env); err != nil {
		return err
	}
	if certs != nil {
		cfg.Security = certs
		watch, stop := context.WithCancel(ctx)
		defer stop()
		go certs.Watch(watch, pki.PollInterval) // not waited for: a disk may hold it
	}
	n, err := node.Start(ctx, cfg)
	if err != nil {
		return cannotStart(err)
	}
	for {
		select {
		case <-n.Done():
			if err := n.Wait(); err != nil {
				return &agentapi.Error{What: "the engine failed", Why: err.Error(), Next: "See the log above. It is safe to start it again once the cause is mended."}
			}
			return nil
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				reload(c, sinks, load)
				if certs != nil {
					certs.Wake()
				}
				continue
			}
			log.Info("stopping", "signal", sig.String())
			return shutdown(n, signals)
		case err := <-stalled:
			// Also in order: a thread that a disk holds would keep the sockets open.
			e := &agentapi.Error{What: "the engine ended itself", Why: err.Error(), Next: "Look at the disk of the log, or set HOLDFAST_LOG_MAX_SYNC_DURATION=0s to go on without it."}
			if err := shutdown(n, signals); err != nil {
				e.Why += "; " + err.Error()
			}
			return e
		case <-ctx.Done():
			return shutdown(n, signals)
		}
	}
}

// shutdown stops the engine within its bound; a second signal does not wait.
func shutdown(n *node.Node, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownBound)
	defer cancel()
	done := make(chan error, 1) // one result, whether somebody waits or not
	go func() { done <- n.Shutdown(ctx) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("the engine did not stop cleanly: %w", err)
			}
			return nil
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return fmt.Errorf("ended by a second signal (%v) before the engine had stopped", sig)
			}
		case <-time.After(shutdownBound + time.Second):
			return fmt.Errorf("the engine did not stop within %v: a disk may hang", shutdownBound)
		}
	}
}

// reload takes over what a running engine can.
func reload(c *config.Config, sinks *logs.Logs, load func() (*config.Config, error)) {
	log := sinks.Logger()
	next, err := load()
	var to *logs.Config
	if err == nil {
		to, err = readLogs(next)
	}
	if err != nil {
		log.Error("reload: the configuration is refused and nothing is changed", "error", err)
		return
	}
	sinks.Reload(to) // which opens every file anew
	log.SetLevel(hclog.LevelFromString(next.Log.Level))
	c.Log, c.LogConfigFile, c.ServerRules = next.Log, next.LogConfigFile, next.ServerRules
	log.Info("reloaded", "log_level", c.Log.Level)
	var names []string
	for _, ch := range agentapi.RestartRequired(c.Spec, next.Spec) {
		names = append(names, fmt.Sprintf("%s %q → %q", ch.Attribute, ch.From, ch.To))
	}
	if !reflect.DeepEqual(c.TLS, next.TLS) {
		names = append(names, "tls")
	}
	if len(names) > 0 {
		log.Warn("reload: these take effect after a restart only", "changes", strings.Join(names, ", "))
	}
}

// warnNotBuilt names what is accepted but has no effect in this version.
func warnNotBuilt(log hclog.Logger, c *config.Config) {
	if c.ServerRules.LeaveOnTerminate {
		log.Warn("leave_on_terminate is set, but leaving is not built yet: the server stops and stays a member")
	}
}

// identify makes the stores that are empty and that nobody gave an id, and their
// side. The agent gives ids: below it, an empty directory is a disk that is not
// mounted.
func identify(c *config.Config, log hclog.Logger) error {
	if c.SideDisk != nil && len(c.StoreIDs) == 0 {
		if err := os.MkdirAll(c.SideDisk.Path, 0o700); err != nil {
			return err
		}
	}
	for _, s := range c.Stores {
		if c.StoreIDs[s.Path] != "" {
			continue
		}
		_, err := store.Read(s.Path)
		if !errors.Is(err, store.ErrNoIdentity) {
			continue // node.Start checks what is there
		}
		id := store.Identity{Cluster: c.Cluster.Name, ClusterID: c.Cluster.ID, Node: c.Node, NodeID: c.NodeID, StoreID: uuid.NewString()}
		if err := store.Create(s.Path, id); err != nil {
			return err
		}
		log.Info("made a store", "path", s.Path, "id", id.StoreID)
	}
	return nil
}

// maxSyncVariable is CockroachDB's variable under our name: the default of the
// setting storage.max_sync_duration.
const maxSyncVariable = "HOLDFAST_ENGINE_MAX_SYNC_DURATION_DEFAULT"

func maxSyncDefault(env *Env) (time.Duration, error) {
	v := env.Getenv(maxSyncVariable)
	if v == "" {
		return 0, nil
	}
	d, err := kv.ParseSetting(kv.SettingMaxSyncDuration, v)
	if err != nil {
		return 0, &agentapi.Error{What: "the environment is refused", Why: fmt.Sprintf("%s = %q: %v", maxSyncVariable, v, err),
			Next: "Set it to a duration such as 40s, or unset it.", Field: maxSyncVariable}
	}
	return d, nil
}

func nodeConfig(c *config.Config, version string, log hclog.Logger) node.Config {
	n := node.Config{
		Cluster: c.Cluster.Name, ClusterID: c.Cluster.ID, Node: c.Node, NodeID: c.NodeID,
		BindAddress: c.BindAddress, ServerPort: c.Ports.Server, HTTPPort: c.Ports.HTTP,
		HTTPAddress: c.HTTPAddress, AdvertiseAddress: c.ServerAddress(),
		LogStore: node.LogStore{
			Backend: c.RaftLogStore.Backend, DisableLogCache: c.RaftLogStore.DisableLogCache,
			SegmentSizeMB: c.RaftLogStore.WAL.SegmentSizeMB, NoFreelistSync: c.RaftLogStore.BoltDB.NoFreelistSync,
			Verification: node.Verification{Enabled: c.RaftLogStore.Verification.Enabled},
		},
		Failover:   node.Failover{Mode: c.WALFailover.Mode, PrevPaths: c.WALFailover.PrevPaths},
		ConfigHash: c.Hash(), Version: version, Logger: log,
	}
	if c.TLS != nil {
		n.HTTPSAddress = c.TLS.HTTPSAddress
	}
	// Validate parsed it already.
	n.LogStore.Verification.Interval, _ = time.ParseDuration(c.RaftLogStore.Verification.Interval)
	if c.SideDisk != nil && c.WALFailover.Mode == node.FailoverSideDisk {
		n.Failover.Path = c.SideDisk.Path
	}
	for _, s := range c.Stores {
		n.Stores = append(n.Stores, node.Store{Path: s.Path, ID: c.StoreIDs[s.Path], Attrs: s.Attrs})
	}
	for _, s := range c.Servers {
		n.Servers = append(n.Servers, node.Server{Name: s.Name, Address: s.Address, Voter: s.Voter})
	}
	return n
}

// cannotStart says what to do about an engine that does not start.
func cannotStart(err error) error {
	e := &agentapi.Error{What: "the engine cannot start", Why: err.Error(), Next: "Mend the cause and start it again; nothing was lost."}
	addr := "the address"
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		addr = op.Addr.String()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(addr)
		e.Next = fmt.Sprintf("Another program listens on %s: find it with `ss -ltnp 'sport = :%s'` and stop it, or change ports or bind_addr.", addr, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Next = addr + " is no address of this machine: change bind_addr or addresses."
	case errors.Is(err, syscall.EACCES):
		e.Next = "Give this user the right to it, or use another path or port."
	case errors.Is(err, store.ErrLocked):
		e.Next = "Stop the engine that has the store open; two on one store would destroy it."
	case errors.Is(err, node.ErrOrder):
		e.Next = "Give every store that the node has, in the order in which they were made. A server that forgets its log could lose acknowledged writes."
	case errors.Is(err, store.ErrForeign):
		e.Next = "Give an empty directory, or the one that is this node's. Nothing was changed."
	case errors.Is(err, failover.ErrHung):
		e.Next = "Look at the disk that is named. Nothing was lost: start the engine again when the disk answers."
	case errors.Is(err, failover.ErrSideUnknown), errors.Is(err, failover.ErrSideMissing):
		e.Next = "Do what the message says: acknowledged writes may be on the side and nowhere else."
	case errors.Is(err, store.ErrNoIdentity):
		e.Next = "Mount the disk of the store. An empty log is never started in place of an old one."
	}
	return e
}
