// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/provider"
)

// farm is machines over SSH without SSH: agents and engines that answer as real ones
// would, in this process. Its machines outlive the provider, as machines do.
type farm struct {
	t *testing.T

	mu        sync.Mutex
	cluster   agentapi.Cluster // empty where there is none
	machines  map[string]*machine
	access    provider.Access        // that was opened last
	opened    map[string]env.Machine // likewise
	preflight error
	settings  map[string]string
	unset     bool // no setting is taken
	keys      map[string]api.KVPair
	index     uint64
	made      int   // CAs
	ensures   error // what Ensure says at its end
	dying     bool  // its destruction was begun
}

// machine is one of them: the agent, and the engine beside it. The farm's lock guards it.
type machine struct {
	agentapi.Backend // what nobody asks for
	f                *farm
	name             string
	agent, engine    *httptest.Server
	at               platform.Machine
	spec             *agentapi.Spec
	secrets          map[string]string // a copy: nothing hides it
	puts, dry        int               // specs that it was sent, and dry runs
	pki              agentapi.PKI
	pending          []agentapi.Operation
	problems         []agentapi.Problem // of pending
	working          []agentapi.Operation
	size             int64 // of its data disk
	silent           bool
	refuses          error // specs
	blank            bool  // it starts, and will know nothing
}

func newFarm(t *testing.T) *farm {
	t.Helper()
	return &farm{t: t, machines: map[string]*machine{}, settings: map[string]string{}, keys: map[string]api.KVPair{}}
}

// providers serve the provider from this process, with these machines.
func (f *farm) providers() map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){
		"holdfast": providerserver.NewProtocol6WithError(provider.NewOn("test", nil, func(a provider.Access, machines map[string]env.Machine) (platform.Platform, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.access, f.opened = a, machines
			return &overFarm{farm: f, machines: machines}, nil
		})()),
	}
}

// with does something to a machine.
func (f *farm) with(name string, do func(*machine)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.machines[name])
}

// overFarm is the platform of a place.
type overFarm struct {
	*farm
	machines map[string]env.Machine
}

func (p *overFarm) Preflight(context.Context, platform.Cluster) error { return p.preflight }

func (p *overFarm) Adopt(context.Context) (name, id string, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cluster.Name, p.cluster.ID, p.cluster.ID != "" && !p.dying, nil
}

func (p *overFarm) Observe(context.Context) (map[string]platform.Machine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]platform.Machine{}
	if p.dying {
		return all, nil
	}
	for name, m := range p.farm.machines {
		if p.machines[name].Address == "elsewhere" {
			return nil, errors.New("the machines belong to different clusters")
		}
		all[name] = m.at
		if m.blank {
			all[name] = platform.Machine{Name: name, Address: m.at.Address}
		}
	}
	return all, nil
}

func (p *overFarm) Ensure(_ context.Context, c platform.Cluster, progress func(string)) (map[string]platform.Machine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cluster = agentapi.Cluster{Name: c.Name, ID: c.ID}
	all := map[string]platform.Machine{}
	for _, n := range c.Nodes {
		m := p.farm.machines[n.Name]
		if n.Known && (m == nil || m.blank) {
			return nil, fmt.Errorf("node %s: nothing there belongs to this cluster", n.Name)
		}
		if m == nil || m.blank {
			m = &machine{f: p.farm, name: n.Name, size: 10 << 30, pki: agentapi.PKI{Recipient: "age1" + n.Name}}
			m.agent, m.engine = httptest.NewServer(agentapi.Handler(m)), httptest.NewServer(http.HandlerFunc(p.serve))
			p.t.Cleanup(m.agent.Close)
			p.t.Cleanup(m.engine.Close)
			p.farm.machines[n.Name] = m
			progress("node " + n.Name + ": install the agent")
		}
		m.at = platform.Machine{Name: n.Name, Address: p.machines[n.Name].Cluster(), SideDisk: directory("side", c.SideDisk, n.SideDisk)}
		for i, d := range c.Stores {
			m.at.Stores = append(m.at.Stores, directory(fmt.Sprintf("data%d", i+1), d, n.Stores[i]))
		}
		m.silent = m.silent && p.ensures != nil // agents are started
		all[n.Name] = m.at
	}
	return all, p.ensures
}

func directory(name string, d platform.Disk, on platform.Device) platform.Directory {
	mount := "/srv/holdfast/" + name
	return platform.Directory{Path: mount + "/store", SizeBytes: d.SizeBytes, FileSystem: d.FileSystem,
		Disk: &agentapi.Disk{Match: on.Match, Wipe: on.Wipe, FileSystem: d.FileSystem, Mount: mount, MinSizeBytes: d.SizeBytes}}
}

func (p *overFarm) Destroy(_ context.Context, id string, _ func(string)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id == p.cluster.ID {
		p.cluster, p.farm.machines = agentapi.Cluster{}, map[string]*machine{}
	}
	return nil
}

func (p *overFarm) Node(name string) platform.Communicator {
	p.mu.Lock()
	defer p.mu.Unlock()
	return wayTo{p.farm.machines[name]}
}

type wayTo struct{ m *machine }

func (w wayTo) Agent() *agentapi.Client {
	return agentapi.NewClientWithDialer(func(ctx context.Context) (net.Conn, error) {
		if w.m == nil {
			return nil, net.ErrClosed
		}
		w.m.f.mu.Lock()
		silent := w.m.silent
		w.m.f.mu.Unlock()
		if silent {
			return nil, net.ErrClosed
		}
		return new(net.Dialer).DialContext(ctx, "tcp", w.m.agent.Listener.Addr().String())
	})
}

func (w wayTo) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address != "127.0.0.1:8500" {
		return nil, fmt.Errorf("%s is not where a plain API listens", address)
	}
	return new(net.Dialer).DialContext(ctx, network, w.m.engine.Listener.Addr().String())
}

// ---- an agent

func (m *machine) Status(context.Context) agentapi.Status {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	st := agentapi.Status{Node: m.name, Agent: agentapi.Agent{Version: "test"}, Spec: m.spec, Engine: agentapi.Engine{State: agentapi.EngineNone}, PKI: &m.pki}
	if m.spec == nil {
		return st
	}
	if len(m.working) > 0 { // an operation a look
		st.Converging = &agentapi.Converging{Since: time.Unix(int64(m.puts), 0), Doing: m.working[0]}
		m.working = m.working[1:]
		return st
	}
	state := "Follower"
	if m.name == "a" {
		state = "Leader"
	}
	st.Engine = agentapi.Engine{State: agentapi.EngineRunning, HTTPAddress: "127.0.0.1:8500", Stores: &api.NodeStores{}}
	for _, s := range m.spec.Stores {
		st.Stores = append(st.Stores, agentapi.StoreStatus{Path: s.Path, Device: "/dev/nvme1n1", SizeBytes: m.size, Backend: "wal"})
		st.Engine.Stores.Stores = append(st.Engine.Stores.Stores, api.Store{Path: s.Path, Partitions: []api.Partition{{Name: "default", State: state, Term: 1}}})
	}
	st.Side = &agentapi.StoreStatus{Path: m.spec.SideDisk.Path, Device: "/dev/nvme2n1", SizeBytes: 25 << 30}
	return st
}

func (m *machine) PutSpec(_ context.Context, spec *agentapi.Spec, secrets agentapi.Secrets, dryRun bool) (agentapi.SpecResult, error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	spec = spec.WithDefaults()
	if err := cmp.Or(m.refuses, spec.Validate()); err != nil {
		return agentapi.SpecResult{}, err
	}
	res := agentapi.SpecResult{DryRun: dryRun, Changes: agentapi.Diff(m.spec, spec), Converging: true}
	if dryRun {
		m.dry++
		return res, nil
	}
	m.spec, m.secrets = spec, map[string]string(secrets)
	m.puts++
	for _, o := range m.pending {
		if strings.HasPrefix(o.Text, "grow ") {
			m.size += 2 << 30
		}
	}
	m.working = append([]agentapi.Operation{{Part: agentapi.PartDisks, Text: "look at disks"}}, m.pending...)
	m.pending = nil
	if spec.TLS != nil && (m.pki.Certificate == nil || m.pki.Rotation != spec.TLS.Rotation) {
		m.pki.Certificate = &agentapi.Certificate{Issuer: m.pki.CAs[0].Fingerprint, NotAfter: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
		m.pki.Rotation = spec.TLS.Rotation
	}
	return res, nil
}

func (m *machine) Pending(context.Context) (agentapi.Pending, error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	return agentapi.Pending{Operations: append([]agentapi.Operation{}, m.pending...), Problems: m.problems}, nil
}

func (m *machine) certified(do func()) (agentapi.PKI, error) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	do()
	return m.pki, nil
}

func (m *machine) PKI(context.Context) (agentapi.PKI, error) { return m.certified(func() {}) }

func (m *machine) MakeCA(_ context.Context, ca agentapi.NewCA) (agentapi.PKI, error) {
	return m.certified(func() {
		m.f.made++
		m.pki.CAs = append([]agentapi.Certificate{{Fingerprint: fmt.Sprintf("ca%d", m.f.made)}}, m.pki.CAs...)
		m.pki.CAKey, m.pki.CARotation, m.pki.Cluster, m.pki.Node = true, ca.Rotation, ca.Cluster, ca.Node
	})
}

func (m *machine) ExportPKI(context.Context, []string) (b agentapi.PKIBundle, err error) {
	_, err = m.certified(func() {
		b = agentapi.PKIBundle{Cluster: m.pki.Cluster, Rotation: m.pki.CARotation, Sealed: map[string][]byte{agentapi.SealedCAKey: []byte("sealed")}}
		b.CAs, err = json.Marshal(m.pki.CAs)
	})
	return b, err
}

func (m *machine) ImportPKI(_ context.Context, b agentapi.PKIBundle) (agentapi.PKI, error) {
	return m.certified(func() {
		if err := json.Unmarshal(b.CAs, &m.pki.CAs); err != nil {
			m.f.t.Error(err)
		}
		m.pki.CAKey, m.pki.CARotation, m.pki.Cluster, m.pki.Node = true, b.Rotation, b.Cluster, b.Node
	})
}

func (m *machine) IssueCertificate(context.Context) (agentapi.PKI, error) {
	return m.certified(func() { m.pki.Certificate = &agentapi.Certificate{Issuer: m.pki.CAs[0].Fingerprint} })
}

func (m *machine) ForgetCAs(context.Context) (agentapi.PKI, error) {
	return m.certified(func() { m.pki.CAs = m.pki.CAs[:1] })
}

func (m *machine) Start(context.Context) error { return nil }

// ---- an engine

// serve is the plain API, for requests that a node takes: to localhost.
func (p *overFarm) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	key, isKey := strings.CutPrefix(r.URL.Path, "/v1/kv/")
	switch {
	case err != nil || r.Host != "localhost":
		http.Error(w, "this node is not called "+r.Host, http.StatusForbidden)
	case r.URL.Path == "/v1/operator/settings" && r.Method == http.MethodPut && p.unset:
		http.Error(w, "No cluster leader", http.StatusInternalServerError)
	case r.URL.Path == "/v1/operator/settings" && r.Method == http.MethodPut:
		var change api.SettingsChange
		err = json.Unmarshal(body, &change)
		for name, v := range change.Settings {
			delete(p.settings, name)
			if v != nil {
				p.settings[name] = *v
			}
		}
		_, _ = io.WriteString(w, "true") // the client sees what comes
	case r.URL.Path == "/v1/operator/settings":
		s := api.Settings{Settings: p.settings}
		for name := range p.settings {
			s.Set = append(s.Set, name)
		}
		err = json.NewEncoder(w).Encode(s)
	case isKey && r.Method == http.MethodGet:
		pair, ok := p.keys[key]
		if !ok {
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		err = json.NewEncoder(w).Encode([]api.KVPair{pair})
	case isKey:
		has := p.keys[key]
		if r.URL.Query().Get("cas") != strconv.FormatUint(has.ModifyIndex, 10) {
			_, _ = io.WriteString(w, "false") // as above
			return
		}
		p.index++
		p.keys[key] = api.KVPair{Key: key, Value: body, ModifyIndex: p.index}
		if r.Method == http.MethodDelete {
			delete(p.keys, key)
		}
		_, _ = io.WriteString(w, "true") // as above
	default:
		http.NotFound(w, r)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// names are the nodes that are there.
func (f *farm) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for name := range f.machines {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
