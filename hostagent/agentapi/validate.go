// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SpecVersion is the version of the spec's format that this package knows.
const SpecVersion = 1

// The modes of wal_failover.
const (
	SideDiskMode    = "side-disk"
	AmongStoresMode = "among-stores"
	DisabledMode    = "disabled"
)

// What the fields that name one of several things may say.
var (
	Backends  = []string{"wal", "boltdb"}
	Modes     = []string{SideDiskMode, AmongStoresMode, DisabledMode}
	LogLevels = []string{"trace", "debug", "info", "warn", "error"}
)

// DefaultInterval is raft_logstore.verification.interval where none is set.
const DefaultInterval = "60s"

// DefaultBuffering is what is left out of log.buffering: the values of CockroachDB's
// guide to WAL failover.
var DefaultBuffering = Buffering{MaxStaleness: "1s", FlushTriggerSize: "256KiB", MaxBufferSize: "50MiB"}

// WithDefaults returns a copy of s in which every field that was left out says
// what it means.
func (s *Spec) WithDefaults() *Spec {
	d := *s
	setDefault(&d.Version, SpecVersion)
	setDefault(&d.BindAddress, "127.0.0.1")
	setDefault(&d.Ports.Server, 8300)
	setDefault(&d.Ports.HTTP, 8500)
	if d.TLS != nil {
		setDefault(&d.Ports.HTTPS, 8501)
	}
	setDefault(&d.RaftLogStore.Backend, "wal")
	setDefault(&d.RaftLogStore.Verification.Interval, DefaultInterval)
	setDefault(&d.RaftLogStore.WAL.SegmentSizeMB, 64)
	setDefault(&d.WALFailover.Mode, DisabledMode)
	setDefault(&d.Log.Level, "info")
	if d.Log.Buffering != nil {
		b := *d.Log.Buffering
		setDefault(&b.MaxStaleness, DefaultBuffering.MaxStaleness)
		setDefault(&b.FlushTriggerSize, DefaultBuffering.FlushTriggerSize)
		setDefault(&b.MaxBufferSize, DefaultBuffering.MaxBufferSize)
		d.Log.Buffering = &b
	}
	return &d
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

var (
	nameRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	uuidRE = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// Validate reports the first field whose value makes no sense, what it says and
// what to do. It looks at s alone, which has its defaults: not at the node, not at
// the spec in force.
func (s *Spec) Validate() error {
	if e := s.checkIdentity(); e != nil {
		return e
	}
	if s.TLS == nil {
		if e := s.checkLoopback(); e != nil {
			return e
		}
	}
	return s.ValidateSecured()
}

// ValidateSecured is Validate for an engine that has certificates: it may bind
// addresses that others reach.
func (s *Spec) ValidateSecured() error {
	for _, check := range []func(*Spec) *Error{
		(*Spec).checkIdentity, (*Spec).checkAddresses, (*Spec).checkTLS, (*Spec).checkServers, (*Spec).checkStores, (*Spec).checkDisks, (*Spec).checkLog, (*Spec).checkFailover,
	} {
		if e := check(s); e != nil {
			return e
		}
	}
	return nil
}

func bad(field string, value any, why, next string) *Error {
	return &Error{What: "the node spec is refused", Why: fmt.Sprintf("%s = %q: %s", field, fmt.Sprint(value), why), Next: next, Field: field}
}

func (s *Spec) checkIdentity() *Error {
	const nameRule = "Use letters, digits and dashes, 63 at most, with a letter or digit at both ends."
	switch {
	case s.Version != SpecVersion:
		return bad("version", s.Version, fmt.Sprintf("this agent knows version %d", SpecVersion),
			"Use the provider and the holdfast binary of one release.")
	case !nameRE.MatchString(s.Cluster.Name):
		return bad("cluster.name", s.Cluster.Name, "not a name", nameRule)
	case !uuidRE.MatchString(s.Cluster.ID):
		return bad("cluster.id", s.Cluster.ID, "not a UUID in lower case", "Make one with uuidgen, once, and use it for every node of the cluster.")
	case !nameRE.MatchString(s.Node):
		return bad("node", s.Node, "not a name", nameRule)
	}
	return nil
}

// checkLoopback leaves what is no address to checkAddresses.
func (s *Spec) checkLoopback() *Error {
	if ip, err := netip.ParseAddr(s.BindAddress); err == nil && !ip.IsLoopback() {
		return bad("bind_address", s.BindAddress, "not a loopback address, and there are no certificates",
			"Use an address of 127.0.0.0/8, or give the node certificates: tls = {}.")
	}
	return nil
}

func (s *Spec) checkAddresses() *Error {
	if _, err := netip.ParseAddr(s.BindAddress); err != nil {
		return bad("bind_address", s.BindAddress, "not an IP address", "Write an address of this node without a port, 127.0.0.1 for example.")
	}
	for _, p := range []struct {
		field string
		port  int
	}{{"ports.server", s.Ports.Server}, {"ports.http", s.Ports.HTTP}, {"ports.https", s.Ports.HTTPS}} {
		if p.field == "ports.https" && p.port == 0 && s.TLS == nil {
			continue
		}
		if p.port < 1 || p.port > 65535 {
			return bad(p.field, p.port, "not a port", "Use a number from 1 to 65535; Consul's are 8300 and 8500.")
		}
	}
	switch {
	case s.Ports.Server == s.Ports.HTTP:
		return bad("ports.http", s.Ports.HTTP, "the same as ports.server", "Give each listener a port of its own.")
	case s.Ports.HTTPS == 0:
	case s.TLS == nil:
		return bad("ports.https", s.Ports.HTTPS, "there are no certificates", "Leave it out, or give the node certificates: tls = {}.")
	case s.Ports.HTTPS == s.Ports.Server, s.Ports.HTTPS == s.Ports.HTTP:
		return bad("ports.https", s.Ports.HTTPS, "the port of another listener", "Give each listener a port of its own.")
	}
	return nil
}

// hostRE is a DNS name.
var hostRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*$`)

var errHost = errors.New("neither an address nor a DNS name")

// CheckHost says why a certificate cannot be for a host: "… is neither …".
func CheckHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return nil
	}
	// What is all digits and dots is a mistaken address: no top-level domain is a number.
	if len(host) > 253 || !hostRE.MatchString(host) || strings.Trim(host, "0123456789.") == "" {
		return errHost
	}
	return nil
}

func (s *Spec) checkTLS() *Error {
	if s.TLS == nil {
		return nil
	}
	for _, h := range s.TLS.Hosts {
		if err := CheckHost(h); err != nil {
			return bad("tls.hosts", h, err.Error(), "Write what clients call the node: db1.example.com, 10.0.0.1.")
		}
	}
	return nil
}

func (s *Spec) checkServers() *Error {
	names, addresses := map[string]bool{}, map[string]string{}
	voters := 0
	for i, srv := range s.Servers {
		field := fmt.Sprintf("servers.%d", i)
		if !nameRE.MatchString(srv.Name) {
			return bad(field+".name", srv.Name, "not a name", "Use the server's node name.")
		}
		field = "servers." + srv.Name
		if names[srv.Name] {
			return bad(field+".name", srv.Name, "named twice", "Name every server once.")
		}
		names[srv.Name] = true
		host, port, err := net.SplitHostPort(srv.Address)
		n, perr := strconv.Atoi(port)
		if err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
			return bad(field+".address", srv.Address, "not host:port", "Write the address of its server RPC, 127.0.0.1:8300 for example.")
		}
		if other, ok := addresses[srv.Address]; ok {
			return bad(field+".address", srv.Address, "server "+other+" has the same", "Give every server an address of its own.")
		}
		addresses[srv.Address] = srv.Name
		if srv.Name == s.Node && n != s.Ports.Server {
			return bad(field+".address", srv.Address, fmt.Sprintf("ports.server is %d", s.Ports.Server), "Make both the same port.")
		}
		if srv.Voter {
			voters++
		}
	}
	switch {
	case len(s.Servers) == 0:
		return bad("servers", "", "empty", "List every server of the cluster, this node among them.")
	case !names[s.Node]:
		return bad("node", s.Node, "not among the servers "+strings.Join(serverNames(s.Servers), ", "), "Add it to servers.")
	case voters == 0:
		return bad("servers", strings.Join(serverNames(s.Servers), ", "), "none of them is a voter", "Set voter on one server at least, on three where a failure shall be survived.")
	}
	return nil
}

func serverNames(servers []Server) []string {
	var names []string
	for _, s := range servers {
		names = append(names, s.Name)
	}
	return names
}

func (s *Spec) checkStores() *Error {
	if len(s.Stores) == 0 {
		return bad("stores", "", "empty", "Give the node a store: a directory on a data disk.")
	}
	type dir struct{ field, path string }
	var dirs []dir
	check := func(field, path, device string) *Error {
		if !cleanPath(path) {
			return bad(field+".path", path, "not an absolute path in its shortest form", "Write it from / on, without . or .. or a closing slash.")
		}
		if device != "" && !cleanPath(device) {
			return bad(field+".device", device, "not an absolute path", "Name the device as /dev/… does.")
		}
		for _, d := range dirs {
			switch {
			case d.path == path:
				return bad(field+".path", path, "the same as "+d.field+".path", "Give every store and the side disk a directory of its own.")
			case within(path, d.path), within(d.path, path):
				return bad(field+".path", path, fmt.Sprintf("one of it and %s.path (%s) lies inside the other", d.field, d.path),
					"Put them beside each other; the side disk on another device.")
			}
		}
		dirs = append(dirs, dir{field, path})
		return nil
	}
	for i, st := range s.Stores {
		field := fmt.Sprintf("stores.%d", i)
		if e := check(field, st.Path, st.Device); e != nil {
			return e
		}
		for _, a := range st.Attrs {
			if a == "" || strings.ContainsAny(a, ",:= \t\n") {
				return bad(field+".attrs", a, "not an attribute", "Use words without spaces and without , : =.")
			}
		}
	}
	if s.SideDisk != nil {
		if e := check("side_disk", s.SideDisk.Path, s.SideDisk.Device); e != nil {
			return e
		}
	}
	return nil
}

func cleanPath(p string) bool {
	return filepath.IsAbs(p) && filepath.Clean(p) == p && p != "/" && !strings.ContainsRune(p, 0)
}

// within reports whether path lies inside dir.
func within(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

func (s *Spec) checkLog() *Error {
	l := s.RaftLogStore
	if !slices.Contains(Backends, l.Backend) {
		return oneOf("raft_logstore.backend", l.Backend, Backends)
	}
	if d, err := time.ParseDuration(l.Verification.Interval); err != nil || d <= 0 {
		return bad("raft_logstore.verification.interval", l.Verification.Interval, "not a duration above zero", "Write it as Go does: 60s, 5m.")
	}
	if l.WAL.SegmentSizeMB < 1 || l.WAL.SegmentSizeMB > 1024 {
		return bad("raft_logstore.wal.segment_size_mb", l.WAL.SegmentSizeMB, "outside 1 to 1024", "Leave it at 64 unless you measured.")
	}
	if !slices.Contains(LogLevels, s.Log.Level) {
		return oneOf("log.level", s.Log.Level, LogLevels)
	}
	return s.checkBuffering()
}

func (s *Spec) checkBuffering() *Error {
	b := s.Log.Buffering
	if b == nil {
		return nil
	}
	if d, err := time.ParseDuration(b.MaxStaleness); err != nil || d <= 0 {
		return bad("log.buffering.max_staleness", b.MaxStaleness, "not a duration above zero", "Write it as Go does: 500ms, 1s.")
	}
	const next = "Write a number and a unit: 256KiB, 50MiB."
	trigger, err := ParseSize(b.FlushTriggerSize)
	if err != nil || trigger == 0 {
		return bad("log.buffering.flush_trigger_size", b.FlushTriggerSize, "not a size above zero", next)
	}
	size, err := ParseSize(b.MaxBufferSize)
	if err != nil || size == 0 {
		return bad("log.buffering.max_buffer_size", b.MaxBufferSize, "not a size above zero", next)
	}
	if size < trigger {
		return bad("log.buffering.max_buffer_size", b.MaxBufferSize, "below flush_trigger_size, "+b.FlushTriggerSize, "Make the buffer larger than what is written at once.")
	}
	return nil
}

func (s *Spec) checkFailover() *Error {
	f := s.WALFailover
	switch {
	case !slices.Contains(Modes, f.Mode):
		return oneOf("wal_failover.mode", f.Mode, Modes)
	case f.Mode == SideDiskMode && s.SideDisk == nil:
		return bad("wal_failover.mode", f.Mode, "there is no side disk", "Give a side disk, or set the mode to disabled.")
	case f.Mode == SideDiskMode && len(s.Stores) > 1:
		return bad("wal_failover.mode", f.Mode, fmt.Sprintf("the node has %d stores, and a side disk serves a node of one", len(s.Stores)),
			"Use among-stores: each store's log fails over to the next store.")
	case f.Mode == AmongStoresMode && len(s.Stores) < 2:
		return bad("wal_failover.mode", f.Mode, "the node has one store only", "Add a store, or use a side disk.")
	}
	for _, p := range f.PrevPaths {
		if !cleanPath(p) {
			return bad("wal_failover.prev_path", p, "not an absolute path in its shortest form", "Write it from / on.")
		}
		if strings.Contains(p, ",") {
			return bad("wal_failover.prev_path", p, "it has a comma, which separates paths", "Use a directory without one.")
		}
	}
	if f.Mode == SideDiskMode && strings.Contains(s.SideDisk.Path, ",") {
		return bad("side_disk.path", s.SideDisk.Path, "it has a comma, which separates paths", "Use a directory without one.")
	}
	return nil
}

func oneOf(field, value string, choices []string) *Error {
	return bad(field, value, "not known", "Use one of "+strings.Join(choices, ", ")+".")
}
