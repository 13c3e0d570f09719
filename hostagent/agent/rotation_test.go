// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/cli"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/rotation"
)

// secured is a cluster of agents whose engines have certificates.
type secured struct {
	t      *testing.T
	nodes  map[string]*node
	names  []string
	agents map[string]rotation.Agent
	want   rotation.Want
	said   bytes.Buffer // what agents logged and answered, where secrets must not be
	mu     sync.Mutex   // for said
}

func (s *secured) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(b)
}

// newSecured starts the agents; engines come with the specs.
func newSecured(t *testing.T, names ...string) *secured {
	t.Helper()
	s := &secured{t: t, nodes: map[string]*node{}, names: names, agents: map[string]rotation.Agent{}}
	var servers []agentapi.Server
	for _, name := range names {
		n := newNode(t)
		n.logger = hclog.New(&hclog.LoggerOptions{Output: s, Level: hclog.Trace})
		s.nodes[name], s.agents[name] = n, n.client
		n.spec.Node = name
		servers = append(servers, agentapi.Server{Name: name, Address: n.spec.Servers[0].Address, Voter: true})
	}
	for _, n := range s.nodes {
		n.spec.Servers, n.spec.TLS, n.spec.Ports.HTTPS = servers, &agentapi.TLS{Rotation: "1"}, n.https
		n.start()
	}
	s.want = rotation.Want{Cluster: s.nodes[names[0]].spec.Cluster, CARotation: "1"}
	return s
}

// run runs a rotation to its end.
func (s *secured) run(step func(string)) {
	s.t.Helper()
	err := rotation.Run(s.t.Context(), s.agents, s.want, func(format string, args ...any) {
		if step != nil {
			step(fmt.Sprintf(format, args...))
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// up brings the cluster to where it serves.
func (s *secured) up() {
	s.t.Helper()
	s.run(nil)
	for _, name := range s.names {
		if res := s.nodes[name].put(s.nodes[name].spec); len(res.Problems) > 0 {
			s.t.Fatalf("%s: %+v", name, res.Problems)
		}
	}
	for _, name := range s.names {
		s.nodes[name].running()
	}
	s.person("root", false)
}

func (s *secured) pki(name string) pki.Dir {
	return pki.Dir(filepath.Join(s.nodes[name].dir, "pki"))
}

// person makes a client's certificate as a person does, on the first node.
func (s *secured) person(name string, again bool) {
	s.t.Helper()
	args := []string{"cert", "create-client", name, "--certs-dir", string(s.pki(s.names[0]))}
	if again {
		args = append(args, "--overwrite")
	}
	var out bytes.Buffer
	if code := cli.Run(s.t.Context(), args, cli.Env{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}); code != 0 {
		s.t.Fatal(out.String())
	}
}

// client is a client that begins now, with the files on the first node.
func (s *secured) client() (*api.Client, error) {
	b, err := pki.Load(s.pki(s.names[0]).Client("root"), pki.Identity{}, time.Now())
	if err != nil {
		return nil, err
	}
	var urls []string
	for _, name := range s.names {
		urls = append(urls, "https://"+net.JoinHostPort("127.0.0.1", strconv.Itoa(s.nodes[name].https)))
	}
	return api.New(api.Config{Addresses: urls, TLS: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: b.Pool(), Certificates: []tls.Certificate{b.Certificate()},
	}})
}

// dial makes a connection of server RPC as one node to another, with the files that the
// engines have.
func (s *secured) dial(from, to string) error {
	n := s.nodes[from]
	var certs *pki.Certs
	var err error
	for end := time.Now().Add(bound); time.Now().Before(end); { // between key and certificate a pair does not fit
		certs, err = pki.Open(pki.Dir(filepath.Join(n.dir, "certs")).Node(), pki.Identity{Cluster: n.spec.Cluster.ID, Role: pki.Node, Name: from}, pki.Options{})
		if r, ok := errors.AsType[*pki.Refusal](err); !ok || r.Field != "the key" {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: bound}, Config: certs.Dial(to)}
	conn, err := d.DialContext(s.t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.nodes[to].spec.Ports.Server)))
	if err != nil {
		return fmt.Errorf("%s does not trust %s: %w", from, to, err)
	}
	defer func() { _ = conn.Close() }() // nothing more is said
	if err := conn.SetDeadline(time.Now().Add(bound)); err != nil {
		return err
	}
	body := []byte{}
	for _, word := range []string{n.spec.Cluster.ID, "default", from, to} {
		body = append(append(body, byte(len(word))), word...)
	}
	if _, err := conn.Write(append(binary.LittleEndian.AppendUint16([]byte("HFRP\x01\x02"), uint16(len(body))), body...)); err != nil {
		return err
	}
	head := make([]byte, 3)
	if _, err := io.ReadFull(conn, head); err != nil {
		return fmt.Errorf("%s does not trust %s: %w", to, from, err)
	}
	if head[0] != 0 {
		return fmt.Errorf("%s refuses %s", to, from)
	}
	return nil
}

// mesh dials every pair once.
func (s *secured) mesh() (errs error) {
	for _, from := range s.names {
		for _, to := range s.names {
			if from != to {
				errs = errors.Join(errs, s.dial(from, to))
			}
		}
	}
	return errs
}

// TestRotation replaces certificates, and then the CA, of three agents' engines under
// load: requests over HTTPS, each on a connection of its own, and connections of server
// RPC between all pairs. None fails, no engine is restarted, and nothing secret is seen
// anywhere.
//
// TestRotationOrder has the order of the steps wrong, and is seen to fail.
func TestRotation(t *testing.T) {
	s := newSecured(t, "a", "b", "c")
	s.up()
	first := s.collect()
	pids := map[string]int{}
	for _, name := range s.names {
		pids[name] = s.nodes[name].status().Engine.PID
	}
	var files sync.RWMutex // the client's, which change as a whole
	var stop atomic.Bool
	var writes, rounds atomic.Int64
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				files.RLock()
				c, err := s.client()
				files.RUnlock()
				if err == nil {
					ctx, cancel := context.WithTimeout(context.Background(), bound)
					err = c.Put(ctx, fmt.Sprintf("k/%d/%d", i, n), []byte("v"), api.Write{})
					cancel()
					c.Close()
				}
				if err != nil {
					t.Errorf("write %d of %d: %v", n, i, err)
					return
				}
				writes.Add(1)
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			files.RLock()
			err := s.mesh()
			files.RUnlock()
			if err != nil {
				t.Errorf("round %d: %v", rounds.Load(), err)
				return
			}
			rounds.Add(1)
		}
	})
	finish := func() { stop.Store(true); wg.Wait() }
	defer finish()
	var steps []string
	settle := func(step string) {
		steps = append(steps, step)
		w, r := writes.Load(), rounds.Load()
		for end := time.Now().Add(bound); (writes.Load() < w+4 || rounds.Load() < r+2) && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: no requests go through", step)
			}
		}
	}
	settle("before")

	for _, p := range first {
		s.want.Replace = append(s.want.Replace, p.Certificate.Fingerprint)
	}
	s.run(settle)
	second := s.collect()
	for name, p := range second {
		if p.Certificate.Fingerprint == first[name].Certificate.Fingerprint || p.CAs[0].Fingerprint != first[name].CAs[0].Fingerprint {
			t.Errorf("%s after new certificates: %+v", name, p)
		}
	}

	s.want.Replace, s.want.CARotation = nil, "2"
	renewed := false
	s.run(func(step string) {
		if strings.Contains(step, "make key and certificate anew") && !renewed { // all trust it by now
			files.Lock()
			s.person("root", true)
			files.Unlock()
			renewed = true
		}
		settle(step)
	})
	third := s.collect()
	for name, p := range third {
		if len(p.CAs) != 1 || p.CAs[0].Fingerprint == first[name].CAs[0].Fingerprint || p.Certificate.Issuer != p.CAs[0].Fingerprint || p.CARotation != "2" || p.Behind != "" {
			t.Errorf("%s after a new CA: %+v", name, p)
		}
		st := s.nodes[name].status()
		if st.Engine.PID != pids[name] || len(st.Engine.RestartRequired) > 0 || len(st.Problems) > 0 || st.PKI == nil || st.PKI.CAs[0].Fingerprint != p.CAs[0].Fingerprint {
			t.Errorf("%s: %+v", name, st)
		}
	}
	t.Logf("%d writes, %d rounds of connections, steps:\n%s", writes.Load(), rounds.Load(), strings.Join(steps, "\n"))
	finish()
	s.secrets()
	// What is on disk is what engines start with.
	for _, name := range s.names {
		if _, err := s.nodes[name].client.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.nodes[name].running()
	}
	c, err := s.client()
	if err == nil {
		defer c.Close()
		err = c.Put(t.Context(), "end", []byte("v"), api.Write{})
	}
	if err != nil {
		t.Error(err)
	}
}

// collect is what each node says of its certificates.
func (s *secured) collect() map[string]agentapi.PKI {
	s.t.Helper()
	said, silent, err := rotation.Ask(s.t.Context(), s.agents)
	if err != nil || len(silent) > 0 {
		s.t.Fatal(silent, err)
	}
	return said
}

// secrets looks for the nodes' keys, and the CA's, where they must not be.
func (s *secured) secrets() {
	s.t.Helper()
	lines := s.caKey()
	for _, name := range s.names {
		host, err := os.ReadFile(s.pki(name).HostKey())
		if err != nil {
			s.t.Fatal(err)
		}
		at := bytes.Index(host, []byte("AGE-SECRET-KEY"))
		lines = append(lines, strings.TrimSpace(string(host[at:])))
		key, err := os.ReadFile(s.pki(name).Node().Key)
		if err != nil {
			s.t.Fatal(err)
		}
		lines = append(lines, strings.Split(string(key), "\n")[1:3]...)
	}
	lines = append(lines, "AGE-SECRET-KEY", "PRIVATE KEY")
	seek := func(where string, text []byte) {
		for _, l := range lines {
			if bytes.Contains(text, []byte(l)) {
				s.t.Errorf("%s has a secret", where)
			}
		}
	}
	for _, name := range s.names {
		n := s.nodes[name]
		p, err := n.client.PKI(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		for _, v := range []any{p, n.status()} {
			b, err := json.Marshal(v)
			if err != nil {
				s.t.Fatal(err)
			}
			seek("an answer of "+name, b)
		}
		err = filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(n.dir, path)
			if err != nil || !d.Type().IsRegular() || slices.Contains([]string{"pki/host.key", "pki/node.key", "certs/node.key", "pki/client.root.key"}, rel) {
				return err
			}
			b, err := os.ReadFile(path)
			seek(path, b)
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.mu.Lock()
	seek("the agents' log", s.said.Bytes())
	s.mu.Unlock()
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range lists {
		if b, err := os.ReadFile(path); err == nil { // else it has ended
			seek(path, b)
		}
	}
}

// caKey are the secret lines of the CA's key, which the test has handed to itself.
func (s *secured) caKey() []string {
	s.t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := s.nodes[s.names[0]].client.ExportPKI(s.t.Context(), id.Recipient().String())
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(b.Sealed[agentapi.SealedCAKey])), id)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Split(string(text), "\n")[1:3]
}

// A certificate of a CA that others do not trust yet cuts its node off: what the order
// of package rotation is for, and that TestRotation would see it.
func TestRotationOrder(t *testing.T) {
	s := newSecured(t, "a", "b")
	s.up()
	if err := s.mesh(); err != nil {
		t.Fatal(err)
	}
	ctx, a := t.Context(), s.nodes["a"].client
	if _, err := a.MakeCA(ctx, agentapi.NewCA{Cluster: s.want.Cluster, Node: "a", Rotation: "2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ForgetCAs(ctx); err == nil {
		t.Error("the CA of the certificate was forgotten")
	}
	if err := s.mesh(); err != nil {
		t.Error(err)
	}
	if _, err := a.IssueCertificate(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.mesh(); err == nil || !strings.Contains(err.Error(), "b does not trust a") {
		t.Errorf("nobody is cut off: %v", err)
	}
	s.want.CARotation = "2" // and it is brought in order
	s.run(nil)
	if err := s.mesh(); err != nil {
		t.Error(err)
	}
}

// The life of a node's certificate.
func TestCertificates(t *testing.T) {
	s := newSecured(t, "a")
	n := s.nodes["a"]
	if st := n.status(); st.PKI != nil {
		t.Errorf("%+v", st.PKI)
	}
	// Without a CA there is no engine, and a person is told what to do.
	res := n.put(n.spec)
	if len(res.Problems) != 1 || !strings.Contains(res.Problems[0].Why, "CA is not on this node") || !strings.Contains(res.Problems[0].Next, "holdfast tls rotate") {
		t.Fatalf("%+v", res.Problems)
	}
	for name, ca := range map[string]agentapi.NewCA{
		"cluster.id": {Cluster: agentapi.Cluster{Name: "orders", ID: "00000000-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a"},
		"node":       {Cluster: n.spec.Cluster, Node: "b"},
	} {
		_, err := n.client.MakeCA(t.Context(), ca)
		if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Field != name || e.Next == "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	s.run(nil) // the CA: the agent goes on by itself
	engine := n.running().Engine
	if want := net.JoinHostPort("127.0.0.1", strconv.Itoa(n.spec.Ports.HTTP)); engine.HTTPAddress != want {
		t.Errorf("the agent asks at %s", engine.HTTPAddress)
	}
	was := s.collect()["a"]
	if was.Certificate == nil || !slices.Equal(was.Certificate.Hosts, []string{"127.0.0.1", "::1", "a", "a." + n.spec.Cluster.ID + ".holdfast", "localhost"}) || was.Rotation != "1" || was.Behind != "" {
		t.Fatalf("%+v", was)
	}
	again := func(what string, change func(*agentapi.Spec), anew bool) {
		t.Helper()
		if res := n.put(n.changed(change)); len(res.Problems) > 0 {
			t.Fatalf("%s: %+v", what, res.Problems)
		}
		is := s.collect()["a"]
		if (is.Certificate.Fingerprint != was.Certificate.Fingerprint) != anew {
			t.Errorf("%s: certificate %+v, was %+v", what, is.Certificate, was.Certificate)
		}
		was = is
		st := n.until(what+": the engine has it", func(agentapi.Status) bool { return s.collect()["a"].Behind == "" })
		if st.Engine.PID != engine.PID || len(st.Engine.RestartRequired) > 0 {
			t.Errorf("%s: %+v", what, st.Engine)
		}
	}
	again("the same spec", func(*agentapi.Spec) {}, false)
	hosts := func(s *agentapi.Spec) { s.TLS.Hosts = []string{"db.example.com"} }
	again("another host", hosts, true)
	if !slices.Contains(was.Certificate.Hosts, "db.example.com") {
		t.Errorf("%q", was.Certificate.Hosts)
	}
	again("another rotation", func(s *agentapi.Spec) { hosts(s); s.TLS.Rotation = "2" }, true)
	again("the same again", func(s *agentapi.Spec) { hosts(s); s.TLS.Rotation = "2" }, false)

	// A copy that was lost, and a pair that does not fit, are mended by the next agent.
	n.stop()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(n.dir, "certs", "node.key")), pki.WriteKey(s.pki("a").Node().Key, key)); err != nil {
		t.Fatal(err)
	}
	n.start()
	st := n.until("mended", func(st agentapi.Status) bool {
		return st.Converging == nil && st.PKI != nil && st.PKI.Certificate != nil
	})
	if st.PKI.Certificate.Fingerprint == was.Certificate.Fingerprint || st.Engine.PID != engine.PID {
		t.Errorf("%+v", st.PKI)
	}
	n.until("the engine has it", func(agentapi.Status) bool { return s.collect()["a"].Behind == "" })
	// TLS off is another configuration, and possible on loopback.
	res = n.put(n.changed(func(s *agentapi.Spec) { s.TLS, s.Ports.HTTPS = nil, 0 }))
	if st := n.running(); len(st.Engine.RestartRequired) == 0 || len(res.Problems) > 0 {
		t.Errorf("%+v", st.Engine)
	}
}
