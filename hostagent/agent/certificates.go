// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

// certsDir holds the copies that the engine reads, beside its configuration.
const certsDir = "certs"

const noCANext = "Let another server hand it over, or make it: terraform apply does either, and so does holdfast tls rotate."

// certs is the directory of the engine's certificates.
func (p place) certs() string { return filepath.Join(p.dir, certsDir) }

// certificatesLocked sees to it that the node has a certificate as its spec says, and
// the engine a copy of it. The caller has the turn.
func (a *Agent) certificatesLocked(ctx context.Context, spec *agentapi.Spec) []agentapi.Problem {
	if spec.TLS == nil {
		return nil
	}
	_, held, err := a.lookPKI()
	if err == nil {
		err = a.certifyLocked(ctx, spec, held)
	}
	if err != nil {
		return []agentapi.Problem{problem("the node's certificates are not in place", refusedPKI("the node's certificates are not in place", err), "")}
	}
	return nil
}

func (a *Agent) certifyLocked(ctx context.Context, spec *agentapi.Spec, held pki.Held) error {
	const what = "the node has no certificate"
	switch {
	case len(held.CAs) == 0:
		return &agentapi.Error{What: what, Why: "the cluster's CA is not on this node", Next: noCANext}
	case held.Cluster != spec.Cluster.ID:
		return &agentapi.Error{What: what, Why: fmt.Sprintf("its CA is that of cluster %s, the spec is for %s", held.Cluster, spec.Cluster.ID),
			Next: "Put " + string(a.keyring.Dir()) + " aside, and let the cluster's servers hand over theirs.", Field: "cluster.id"}
	case held.Node != spec.Node:
		return &agentapi.Error{What: what, Why: fmt.Sprintf("its CA was given to node %q, the spec is for %q", held.Node, spec.Node),
			Next: "Put " + string(a.keyring.Dir()) + " aside, and let the cluster's servers hand over theirs.", Field: "node"}
	}
	now := time.Now()
	if why := due(spec, held, now); why != "" {
		a.log.Info("making key and certificate anew", "why", why)
		if err := a.keyring.Issue(certificateHosts(spec), spec.TLS.Rotation, now); err != nil {
			return err
		}
	}
	err := a.handCertificates(ctx, spec)
	if _, _, lerr := a.lookPKI(); lerr != nil {
		return errors.Join(err, lerr)
	}
	return err
}

// certificateHosts are the names and addresses that a node's certificate is for, beside
// the name that nodes dial it by.
func certificateHosts(spec *agentapi.Spec) []string {
	hosts := append([]string{spec.Node, spec.BindAddress, "127.0.0.1", "::1", "localhost"}, spec.TLS.Hosts...)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// due says why a node's certificate is to be made anew, empty where it is not.
//
// Invariant: one that works is only replaced by one of the same CA. Another CA's is
// the matter of whoever rotates it, and knows that all others trust it: until then
// hosts, rotation and age wait, and come with that certificate.
func due(spec *agentapi.Spec, held pki.Held, now time.Time) string {
	leaf := held.Leaf
	switch {
	case held.Unfit != nil:
		return held.Unfit.Error()
	case leaf == nil:
		return "there is none"
	case leaf.CheckSignatureFrom(held.CAs[0]) != nil:
		return ""
	}
	// As Sign writes them, so that a differing notation is no difference.
	want := []string{pki.Identity{Cluster: held.Cluster, Role: pki.Node, Name: held.Node}.DNSName()}
	for _, h := range certificateHosts(spec) {
		if ip := net.ParseIP(h); ip != nil {
			h = ip.String()
		}
		want = append(want, h)
	}
	slices.Sort(want)
	if have := hostsOf(leaf); !slices.Equal(have, slices.Compact(want)) {
		return fmt.Sprintf("it is for %s, and shall be for %s", strings.Join(have, ", "), strings.Join(want, ", "))
	}
	if held.Rotation != spec.TLS.Rotation {
		return fmt.Sprintf("rotation is %q, and shall be %q", held.Rotation, spec.TLS.Rotation)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); now.After(leaf.NotAfter.Add(-life / 3)) {
		return fmt.Sprintf("it ends at %s, and is in the last third of its life", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// renewCertificates makes a certificate anew that is due, and nothing else. Where it
// fails, a convergence says so and goes on trying.
func (a *Agent) renewCertificates(ctx context.Context) {
	a.mu.Lock()
	spec := a.mu.spec
	a.mu.Unlock()
	if spec == nil || len(a.pendingCertificates(spec)) == 0 {
		return
	}
	give, err := a.takeTurn(ctx)
	if err != nil {
		return // a convergence is under way: it does the same
	}
	problems := a.certificatesLocked(ctx, spec)
	give()
	if len(problems) > 0 {
		a.converge(false)
	}
}

// pendingCertificates is what certificatesLocked would do.
func (a *Agent) pendingCertificates(spec *agentapi.Spec) []agentapi.Operation {
	if spec.TLS == nil {
		return nil
	}
	held, err := a.keyring.Held(time.Now())
	if err != nil || len(held.CAs) == 0 {
		return nil // certificatesLocked says what is wrong
	}
	if why := due(spec, held, time.Now()); why != "" {
		return []agentapi.Operation{{Part: agentapi.PartCertificates, Field: "tls", Text: "make the node's key and certificate anew: " + why}}
	}
	at, err := a.place()
	if err != nil {
		return nil
	}
	differ, err := a.copiesDiffer(at)
	if err != nil || len(differ) == 0 {
		return nil
	}
	return []agentapi.Operation{{Part: agentapi.PartCertificates, Field: "tls", Text: "copy " + strings.Join(differ, ", ") + " to " + at.certs()}}
}

// handCertificates installs what has changed, and tells the engine.
func (a *Agent) handCertificates(ctx context.Context, spec *agentapi.Spec) error {
	at, err := a.place()
	if err != nil {
		return err
	}
	changed, err := a.installCertificates(at)
	if err != nil || !changed {
		return err
	}
	// The engine looks every few seconds by itself; it is told only once it listens, for
	// before that a signal could end it.
	if _, err := a.probe(ctx, spec); err == nil {
		return a.sup.Hangup()
	}
	return nil
}

// installed are the files of an engine's certificates, in the order in which they are
// replaced: a CA is trusted before a certificate of it is used. One that is forgotten
// signed none of the node's any more. Between key and certificate there is a pair that
// does not fit: an engine that runs keeps what it had, one that starts then is started
// again.
func (a *Agent) installed() []string {
	n := a.keyring.Dir().Node()
	return []string{n.CA, n.Key, n.Cert}
}

// installCertificates brings the engine's copies up to date. It says whether any was not.
func (a *Agent) installCertificates(at place) (changed bool, err error) {
	if err := at.makeCerts(); err != nil {
		return false, err
	}
	if _, err := a.keyring.Load(time.Now()); err != nil {
		return false, err // a copy of what cannot be used would spoil what can
	}
	for _, path := range a.installed() {
		to := filepath.Join(at.certs(), filepath.Base(path))
		b, err := os.ReadFile(path)
		if err != nil {
			return changed, err
		}
		if at.same(to, b) {
			continue
		}
		if err := at.replace(to, b); err != nil {
			return changed, fmt.Errorf("install %s: %w", to, err)
		}
		changed = true
	}
	if changed {
		a.log.Info("installed certificates for the engine", "dir", at.certs())
	}
	return changed, nil
}

// copiesDiffer names the copies that are not what the node holds.
func (a *Agent) copiesDiffer(at place) (names []string, err error) {
	for _, path := range a.installed() {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !at.same(filepath.Join(at.certs(), filepath.Base(path)), b) {
			names = append(names, filepath.Base(path))
		}
	}
	return names, nil
}

// makeCerts makes the directory. Where the engine is another user's, it is the agent's
// all the same, and that user's group may only read: the agent writes there, and must not
// be led elsewhere by whoever owns it.
func (p place) makeCerts() error {
	dir, mode := p.certs(), fs.FileMode(0o700)
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	if p.uid >= 0 {
		mode = 0o750
		if err := os.Lchown(dir, os.Geteuid(), p.gid); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

// same reports whether a copy is there, with this content, for the engine alone.
func (p place) same(path string, b []byte) bool {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm() != 0o600 {
		return false
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); p.uid >= 0 && (!ok || int(st.Uid) != p.uid || int(st.Gid) != p.gid) {
		return false
	}
	have, err := os.ReadFile(path)
	return err == nil && bytes.Equal(have, b)
}

// replace makes b the content of a file that is the engine's alone, from its first
// moment under that name. Durable when it returns.
func (p place) replace(path string, b []byte) error {
	return atomicfile.Write(path, b, atomicfile.Owner{UID: p.uid, GID: p.gid, Mode: 0o600})
}

// running is the spec that the engine's process was started with, nil where there is
// none.
func (a *Agent) running(spec *agentapi.Spec) *agentapi.Spec {
	p := a.sup.State().Process
	if p == nil {
		return nil
	}
	if run := a.runs(p); run.spec != nil {
		return run.spec
	}
	return spec // it has not said yet
}

// probe asks the engine what it uses.
func (a *Agent) probe(ctx context.Context, spec *agentapi.Spec) (pki.InUse, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	b, err := a.keyring.Load(time.Now())
	if err != nil {
		return pki.InUse{}, err
	}
	return pki.Probe(ctx, net.JoinHostPort(spec.BindAddress, strconv.Itoa(spec.Ports.HTTPS)), b)
}

// behind says what of the node's certificates the engine does not use: see agentapi.PKI.
func (a *Agent) behind(ctx context.Context, spec *agentapi.Spec, held pki.Held) string {
	if spec == nil || spec.TLS == nil || held.Leaf == nil {
		return ""
	}
	at, err := a.place()
	if err != nil {
		return err.Error()
	}
	switch differ, err := a.copiesDiffer(at); {
	case err != nil:
		return err.Error()
	case len(differ) > 0:
		return "the engine's copies of " + strings.Join(differ, ", ") + " are others"
	}
	running := a.running(spec)
	if running == nil || running.TLS == nil {
		return "" // one that starts reads the copies
	}
	in, err := a.probe(ctx, running)
	switch {
	case err != nil:
		return "the engine does not say which certificates it uses: " + err.Error()
	case !in.Leaf.Equal(held.Leaf):
		return "the engine has not taken over the new certificate yet"
	case !in.Trusts(held.CAs):
		return "the engine has not taken over the new ca.crt yet"
	}
	return ""
}
