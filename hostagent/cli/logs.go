// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/logs"
)

const logMaxSyncVariable = "HOLDFAST_LOG_MAX_SYNC_DURATION"

// logsBound is how long an engine that ends waits for its log. A disk that hangs is
// left alone after that, and so is standard error.
const logsBound = time.Second

// logsHelp is for commands that run an engine.
const logsHelp = `The log goes to standard error, or where a logs.yaml says; its keys are CockroachDB's:

  file-defaults:
    dir: /var/log/holdfast        # "logs" beside the file if left out
    max-file-size: 10MiB          # then holdfast.log is put aside
    max-group-size: 100MiB        # of all of them; 0 keeps everything
    file-permissions: 600
    filter: INFO                  # TRACE | DEBUG | INFO | WARNING | ERROR | NONE
    format: text                  # or json
    buffered-writes: false
    buffering:                    # or NONE: each line at once
      max-staleness: 1s
      flush-trigger-size: 256KiB
      max-buffer-size: 50MiB
  sinks:
    file-groups: {default: {}, errors: {filter: ERROR}}
    stderr: {filter: WARNING}
    syslog-servers: {machine: {net: unix}, far: {net: tcp, address: "host:514"}}
    http-servers: {lake: {address: "https://host/path", timeout: 2s, headers: {}}}
    fluent-servers: {fluentd: {address: "host:5170"}}

syslog-defaults, http-defaults and fluent-defaults are those servers' file-defaults.
No log call waits for a disk or a server, with a logs.yaml or without, buffered or
not. What does not fit into a sink's buffer is dropped, the oldest first, counted
(log.messages.dropped) and told in the log. SIGHUP reads logs.yaml again and opens
the files anew.

Environment: HOLDFAST_LOG_MAX_SYNC_DURATION is how long a log file may take to take
one write before the process is ended, because its disk is taken for dead: 20s, or
40s where wal_failover is on; 0 is never. It does not apply to standard error.`

// openLogs starts the log of an engine. From here on standard error is written
// without waiting for it, also what is said when the command ends. The channel gets
// one error, when the disk of a log file is taken for dead; whoever gets it ends the
// process in an orderly way, and where nobody does in time it just ends.
func openLogs(env *Env, c *config.Config) (*logs.Logs, <-chan error, error) {
	sinks, err := readLogs(c)
	if err != nil {
		return nil, nil, err
	}
	limit, err := logMaxSync(env, c)
	if err != nil {
		return nil, nil, err
	}
	stalled := make(chan error, 1) // from the log's Fatal, once
	l, err := logs.Open(sinks, logs.Options{
		Name: "holdfast", Level: hclog.LevelFromString(c.Log.Level), Stderr: env.Stderr, Metrics: telemetry.Process(),
		MaxSync: limit, Fatal: func(err error) {
			stalled <- err
			time.AfterFunc(shutdownBound+2*time.Second, func() { os.Exit(exitFailed) })
		},
	})
	if err != nil {
		return nil, nil, err
	}
	l.Capture()
	env.Stderr = l.Stderr()
	env.settle = func() {
		ctx, cancel := context.WithTimeout(context.Background(), logsBound)
		defer cancel()
		_ = l.Close(ctx) // there is nowhere left to say it
	}
	return l, stalled, nil
}

// readLogs reads the logs.yaml of a configuration, if there is one.
func readLogs(c *config.Config) (*logs.Config, error) {
	if c.LogConfigFile == "" {
		return logs.Default(), nil
	}
	return logs.Read(c.LogConfigFile)
}

// logMaxSync is how long a log file may take to take one write.
func logMaxSync(env *Env, c *config.Config) (time.Duration, error) {
	v := env.Getenv(logMaxSyncVariable)
	switch {
	case v == "" && c.WALFailover.Mode == "disabled":
		return 20 * time.Second, nil
	case v == "":
		return 40 * time.Second, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, &agentapi.Error{What: "the environment is refused", Why: fmt.Sprintf("%s = %q: not a duration", logMaxSyncVariable, v),
			Next: "Write a number and a unit: 20s, 40s; 0s is never.", Field: logMaxSyncVariable}
	}
	return d, nil
}
