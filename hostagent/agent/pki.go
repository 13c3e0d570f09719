// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

// pkiDir is the keyring's directory in the node's.
const pkiDir = "pki"

// PKI implements agentapi.Backend. It asks the engine what it uses.
func (a *Agent) PKI(ctx context.Context) (agentapi.PKI, error) {
	p, held, err := a.lookPKI()
	if err != nil {
		return p, refusedPKI("the node's certificates cannot be read", err)
	}
	a.mu.Lock()
	spec := a.mu.spec
	a.mu.Unlock()
	p.Behind = a.behind(ctx, spec, held)
	return p, nil
}

// MakeCA implements agentapi.Backend.
func (a *Agent) MakeCA(ctx context.Context, ca agentapi.NewCA) (agentapi.PKI, error) {
	return a.changePKI(ctx, "no CA was made", func() error {
		o, err := a.owner(ca.Cluster, ca.Node)
		if err != nil {
			return err
		}
		return a.keyring.MakeCA(o, ca.Rotation, time.Now())
	})
}

// ExportPKI implements agentapi.Backend.
func (a *Agent) ExportPKI(_ context.Context, to []string) (agentapi.PKIBundle, error) {
	const what = "the CA was not handed out"
	if len(to) == 0 {
		return agentapi.PKIBundle{}, &agentapi.Error{What: what, Why: "recipients: empty", Next: "Name the public key of each node that is to have it: GET /v1/pki shows it there.", Field: "recipients"}
	}
	o, x, err := a.keyring.Export(time.Now(), to...)
	if err != nil {
		return agentapi.PKIBundle{}, refusedPKI(what, err)
	}
	a.log.Info("handed out the CA's key, encrypted", "recipients", to)
	return agentapi.PKIBundle{
		Cluster: agentapi.Cluster{Name: o.ClusterName, ID: o.Cluster}, Rotation: x.Rotation,
		CAs: x.CAs, Sealed: map[string][]byte{agentapi.SealedCAKey: x.CAKey},
	}, nil
}

// ImportPKI implements agentapi.Backend.
func (a *Agent) ImportPKI(ctx context.Context, b agentapi.PKIBundle) (agentapi.PKI, error) {
	return a.changePKI(ctx, "the CA was not taken", func() error {
		o, err := a.owner(b.Cluster, b.Node)
		if err != nil {
			return err
		}
		return a.keyring.Import(o, pki.Exported{CAs: b.CAs, CAKey: b.Sealed[agentapi.SealedCAKey], Rotation: b.Rotation}, time.Now())
	})
}

// IssueCertificate implements agentapi.Backend.
func (a *Agent) IssueCertificate(ctx context.Context) (agentapi.PKI, error) {
	return a.changePKI(ctx, "no certificate was made", func() error {
		a.mu.Lock()
		spec := a.mu.spec
		a.mu.Unlock()
		if spec == nil || spec.TLS == nil {
			return &agentapi.Error{What: "no certificate was made", Why: "the node has no spec with tls, which says for which hosts", Next: "Send one with PUT /v1/spec; it makes the certificate."}
		}
		return a.keyring.Issue(certificateHosts(spec), spec.TLS.Rotation, time.Now())
	})
}

// ForgetCAs implements agentapi.Backend. An engine that does not use the node's
// certificate yet would not use a new ca.crt either, and an engine that starts would have
// neither: such a node refuses, too.
func (a *Agent) ForgetCAs(ctx context.Context) (agentapi.PKI, error) {
	return a.changePKI(ctx, "no CA was forgotten", func() error {
		p, err := a.PKI(ctx)
		if err != nil {
			return err
		}
		if p.Behind != "" {
			return &agentapi.Error{What: "no CA was forgotten", Why: p.Behind, Next: "Wait until GET /v1/pki says that the node is not behind."}
		}
		return a.keyring.Forget(time.Now())
	})
}

// changePKI makes a change in its turn and hands the engine what came of it.
func (a *Agent) changePKI(ctx context.Context, what string, change func() error) (agentapi.PKI, error) {
	give, err := a.takeTurn(ctx)
	if err != nil {
		return agentapi.PKI{}, err
	}
	err = change()
	if err == nil {
		err = a.handAgain(ctx)
	}
	give()
	if err != nil {
		return agentapi.PKI{}, refusedPKI(what, err)
	}
	if len(a.problemsNow()) > 0 { // the CA may be what it waits for
		a.converge(false)
	}
	p, err := a.PKI(ctx)
	a.log.Info("certificates changed", "cas", fingerprints(p.CAs), "ca_key", p.CAKey, "certificate", fingerprintOf(p.Certificate))
	return p, err
}

// handAgain hands the engine what was changed, where it has certificates already.
func (a *Agent) handAgain(ctx context.Context) error {
	a.mu.Lock()
	spec := a.mu.spec
	a.mu.Unlock()
	held, err := a.keyring.Held(time.Now())
	if err != nil || spec == nil || spec.TLS == nil || held.Leaf == nil {
		return err
	}
	return a.handCertificates(ctx, spec)
}

// owner is whose the keyring is or will be, refused where the spec in force says otherwise.
func (a *Agent) owner(c agentapi.Cluster, node string) (pki.Owner, error) {
	a.mu.Lock()
	spec := a.mu.spec
	a.mu.Unlock()
	if spec != nil {
		for _, f := range []struct{ field, is, got string }{
			{"cluster.id", spec.Cluster.ID, c.ID}, {"cluster.name", spec.Cluster.Name, c.Name}, {"node", spec.Node, node},
		} {
			if f.is != f.got {
				return pki.Owner{}, &agentapi.Error{What: "the certificates are refused", Why: fmt.Sprintf("%s = %q: this node has %q", f.field, f.got, f.is),
					Next: "Send them to the node that they are for.", Field: f.field}
			}
		}
	}
	return pki.Owner{ClusterName: c.Name, Cluster: c.ID, Node: node}, nil
}

// lookPKI reads what the node holds, and keeps it for the status.
func (a *Agent) lookPKI() (agentapi.PKI, pki.Held, error) {
	recipient, err := a.keyring.Recipient()
	if err != nil {
		return agentapi.PKI{}, pki.Held{}, err
	}
	held, err := a.keyring.Held(time.Now())
	if err != nil {
		return agentapi.PKI{}, held, err
	}
	p := agentapi.PKI{
		Cluster: agentapi.Cluster{Name: held.ClusterName, ID: held.Cluster}, Node: held.Node, Recipient: recipient,
		CAs: []agentapi.Certificate{}, CAKey: held.CAKey, CARotation: held.CARotation, Rotation: held.Rotation,
	}
	for _, c := range held.CAs {
		p.CAs = append(p.CAs, describe(c, held.CAs))
	}
	if held.Leaf != nil {
		p.Certificate = new(describe(held.Leaf, held.CAs))
	}
	a.mu.Lock()
	a.mu.pki = nil
	if len(p.CAs) > 0 {
		seen := p
		a.mu.pki = &seen
	}
	a.mu.Unlock()
	return p, held, nil
}

// knownPKI is what the status says of them.
func (a *Agent) knownPKI() *agentapi.PKI {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.pki
}

// caWarning is for how long before its end a CA is told to be at it: a rotation wants a day on
// which somebody has time, and the certificates of the nodes end with their CA.
const caWarning = 90 * 24 * time.Hour

// endingCA is what is wrong with the CAs that the node needs, where one ends soon: the newest, and,
// in the middle of a rotation, the one that its own certificate is of.
func endingCA(p *agentapi.PKI, now time.Time) []agentapi.Problem {
	if p == nil || len(p.CAs) == 0 {
		return nil
	}
	end, next := p.CAs[0].NotAfter, "Give the cluster another word in tls.ca_rotation, or run `holdfast tls rotate -ca`; all of it serves meanwhile."
	for _, ca := range p.CAs {
		if p.Certificate != nil && p.Certificate.Issuer == ca.Fingerprint && ca.NotAfter.Before(end) {
			end, next = ca.NotAfter, "A rotation to a newer one did not come to its end: apply again, or run `holdfast tls rotate -ca`, which go on with it; all of the cluster serves meanwhile."
		}
	}
	left := end.Sub(now)
	if left >= caWarning {
		return nil
	}
	why := fmt.Sprintf("it ends at %s, in %d days, and no server reaches another from then on", end.UTC().Format(time.RFC3339), int(left/(24*time.Hour)))
	if left < 0 {
		why = fmt.Sprintf("it ended at %s: no server reaches another", end.UTC().Format(time.RFC3339))
	}
	return []agentapi.Problem{{What: "the cluster's CA is at its end", Why: why, Next: next,
		At: end.Add(-caWarning), Beside: true}}
}

func describe(c *x509.Certificate, cas []*x509.Certificate) agentapi.Certificate {
	d := agentapi.Certificate{Fingerprint: pki.Fingerprint(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter}
	if issuer := pki.Issuer(c, cas); issuer != nil {
		d.Issuer = pki.Fingerprint(issuer)
	}
	if !c.IsCA {
		d.Hosts = hostsOf(c)
	}
	return d
}

// hostsOf are the names and addresses that a certificate is for, sorted.
func hostsOf(c *x509.Certificate) []string {
	hosts := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func fingerprints(cs []agentapi.Certificate) []string {
	var all []string
	for _, c := range cs {
		all = append(all, c.Fingerprint)
	}
	return all
}

func fingerprintOf(c *agentapi.Certificate) string {
	if c == nil {
		return ""
	}
	return c.Fingerprint
}

// refusedPKI is an error of certificates as a person reads it.
func refusedPKI(what string, err error) error {
	if _, ok := errors.AsType[*agentapi.Error](err); ok {
		return err
	}
	e := &agentapi.Error{What: what, Why: err.Error(), Next: "See the error; asking again does no harm."}
	if r, ok := errors.AsType[*pki.Refusal](err); ok {
		e.Next, e.Field = r.Next, r.Field
	}
	if errors.Is(err, pki.ErrNoCA) {
		e.Next = noCANext
	}
	return e
}
