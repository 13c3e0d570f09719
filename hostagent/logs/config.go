// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what every sink does: complete and valid.
type Config struct {
	Stderr Sink
	Files  []File
	Syslog []Syslog
	HTTP   []HTTP
	Fluent []Fluent
}

// Format is how a line is written.
type Format string

// The formats.
const (
	Text Format = "text" // as hclog writes it
	JSON Format = "json" // one object a line, with every field
)

// Sink is what all kinds of sinks have.
type Sink struct {
	// Name is the place in logs.yaml without "sinks.": "file-groups.default".
	Name string
	// Filter is the lowest level that is taken; hclog.Off takes nothing.
	Filter    hclog.Level
	Format    Format
	Buffering Buffering
}

// Buffering says when lines are written and how many are kept till then.
type Buffering struct {
	MaxStaleness     time.Duration // 0: at once
	FlushTriggerSize int64         // 0: at once
	MaxBufferSize    int64         // never 0
}

// File is one element of file-groups.
type File struct {
	Sink
	Dir           string
	MaxFileSize   int64 // 0: never put aside
	MaxGroupSize  int64 // 0: never removed
	Permissions   os.FileMode
	BufferedWrite bool
}

// Syslog is one element of syslog-servers: RFC 5424 over udp, tcp (RFC 6587's
// octet counting) or a unix socket.
type Syslog struct {
	Sink
	Net, Address string
	Facility     int
}

// HTTP is one element of http-servers: a POST per batch, one line of it per line.
type HTTP struct {
	Sink
	Address string
	Timeout time.Duration
	Headers map[string]string
}

// Fluent is one element of fluent-servers: lines of JSON with a tag over TCP.
type Fluent struct {
	Sink
	Net, Address string
}

const (
	kib = 1 << 10
	mib = 1 << 20

	// unbufferedSize is what a sink without buffering keeps while it cannot write.
	unbufferedSize = 10 * mib
)

// The defaults: those of CockroachDB's guide to WAL failover for files, of its logs
// for servers.
var (
	atOnce          = Buffering{MaxBufferSize: unbufferedSize}
	fileBuffering   = Buffering{time.Second, 256 * kib, 50 * mib}
	serverBuffering = Buffering{5 * time.Second, mib, 50 * mib}
)

// Default is what a process without a logs.yaml does: text to standard error.
func Default() *Config { return &Config{Stderr: defaultStderr()} }

func defaultStderr() Sink {
	return Sink{Name: "stderr", Filter: hclog.Trace, Format: Text, Buffering: atOnce}
}

// defaultFile is a file group of which nothing is said, beside a logs.yaml in base.
func defaultFile(base string) File {
	return File{
		Sink: Sink{Filter: hclog.Trace, Format: Text, Buffering: atOnce},
		Dir:  filepath.Join(base, "logs"), MaxFileSize: 10 * mib, MaxGroupSize: 100 * mib, Permissions: 0o600,
	}
}

func defaultServer() Sink {
	return Sink{Filter: hclog.Trace, Format: JSON, Buffering: serverBuffering}
}

// fileName is the name of a group's file without its ending.
func fileName(group string) string {
	if group == defaultGroup {
		return "holdfast"
	}
	return "holdfast-" + group
}

const defaultGroup = "default"
