// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rotation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Stories of what is planned and done. "nodes" says what each node holds, "specs" that
// every node was sent its spec, "run" and "plan" take rotation, replace and silent; a
// run with cut=N ends at its N-th request. Rewritten by -rewrite; only commit what you
// understand.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var m *model
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			want := Want{Cluster: cluster}
			cut := 0
			if m != nil {
				for _, n := range m.nodes {
					n.silent = false
				}
			}
			for _, a := range d.CmdArgs {
				switch a.Key {
				case "rotation":
					want.CARotation = a.Vals[0]
				case "replace":
					want.Replace = a.Vals
				case "silent":
					for _, v := range a.Vals {
						m.nodes[v].silent = true
						want.Silent = append(want.Silent, v)
					}
				case "hold":
					want.Hold = true
				case "cut":
					cut, _ = strconv.Atoi(a.Vals[0])
				}
			}
			switch d.Cmd {
			case "nodes":
				m = parseNodes(t, d.Input)
			case "specs":
				m.specs()
			case "plan":
				said := map[string]agentapi.PKI{}
				for name, n := range m.nodes {
					if !n.silent {
						said[name] = n.state()
					}
				}
				steps, err := Plan(said, want)
				return tell(steps, err)
			case "run":
				var out strings.Builder
				err := m.run(t, want, cut, false, func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) })
				if err != nil {
					fmt.Fprintln(&out, "error:", err)
				}
				return out.String() + m.String() + strings.Join(m.broken, "\n")
			}
			return m.String()
		})
	})
}

func tell(steps []Step, err error) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintln(&b, s)
	}
	if err != nil {
		fmt.Fprintln(&b, "error:", err)
	}
	if b.Len() == 0 {
		return "nothing to do\n"
	}
	return b.String()
}

// parseNodes reads "a cas=ca2,ca1 key rotation=x cert=ca1 behind cluster=other".
func parseNodes(t *testing.T, text string) *model {
	m := &model{nodes: map[string]*modelNode{}}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		n := &modelNode{m: m, name: words[0]}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "cas":
				n.pki.Cluster, n.pki.Node = cluster, n.name
				for f := range strings.SplitSeq(value, ",") {
					n.pki.CAs = append(n.pki.CAs, ca(f))
				}
			case "key":
				n.pki.CAKey = true
			case "rotation":
				n.pki.CARotation = value
			case "cert":
				m.made++
				n.pki.Certificate = &agentapi.Certificate{Fingerprint: fmt.Sprintf("%s%d", n.name, m.made), Issuer: value}
			case "cluster":
				n.pki.Cluster = agentapi.Cluster{Name: value, ID: value}
			case "node":
				n.pki.Node = value
			default:
				t.Fatalf("unknown word %q", w)
			}
		}
		n.use()
		m.nodes[n.name] = n
	}
	m.made = max(m.made, 9) // no name twice
	return m
}

// run is Run, ended at a request.
func (m *model) run(t *testing.T, want Want, cut int, lost bool, step func(string, ...any)) (err error) {
	synctest.Test(t, func(t *testing.T) { // waiting takes no time
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m.calls, m.cut, m.lost, m.end = 0, cut, lost, cancel
		err = Run(ctx, serial(m.agents()), want, step)
	})
	return err
}

// serial asks one node after the other, so that a cut is at the same place each time.
func serial(nodes map[string]Agent) map[string]Agent {
	token := make(chan struct{}, 1)
	out := map[string]Agent{}
	for name, n := range nodes {
		out[name] = one{n, token}
	}
	return out
}

type one struct {
	Agent
	token chan struct{}
}

func (o one) PKI(ctx context.Context) (agentapi.PKI, error) {
	o.token <- struct{}{}
	defer func() { <-o.token }()
	return o.Agent.PKI(ctx)
}

// Whatever request a run ends at, done or not, the next run comes to the end, and at no
// moment do two engines not trust each other. It fails where certificates are issued
// before all trust the CA, where older CAs are forgotten before all certificates are
// issued, and where no engine is waited for.
func TestInterruptions(t *testing.T) {
	for name, tc := range map[string]struct {
		start string
		want  Want
		end   string // what each node trusts, and who issued its certificate
	}{
		"the first CA":      {"a\nb\nc\n", Want{CARotation: "1"}, ""},
		"a fourth server":   {"a cas=ca1 key cert=ca1\nb cas=ca1 key cert=ca1\nc cas=ca1 key cert=ca1\nd\n", Want{}, ""},
		"another CA":        {"a cas=ca1 key cert=ca1\nb cas=ca1 key cert=ca1\nc cas=ca1 key cert=ca1\n", Want{CARotation: "2"}, ""},
		"new certificates":  {"a cas=ca1 key cert=ca1\nb cas=ca1 key cert=ca1\nc cas=ca1 key cert=ca1\n", Want{Replace: []string{"a1", "b2", "c3"}}, ""},
		"half way":          {"a cas=ca2,ca1 key cert=ca2\nb cas=ca2,ca1 key cert=ca1\nc cas=ca2,ca1 cert=ca1\n", Want{CARotation: "2"}, ""},
		"two made one each": {"a cas=ca2,ca1 key cert=ca1\nb cas=ca3,ca1 key cert=ca1\nc cas=ca1 key cert=ca1\n", Want{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.Cluster = cluster
			for _, lost := range []bool{false, true} {
				for cut := 1; ; cut++ {
					m := parseNodes(t, tc.start)
					err := m.run(t, tc.want, cut, lost, nil)
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Fatalf("cut at %d: %v", cut, err)
					}
					ended := err == nil
					if err := m.run(t, tc.want, 0, false, nil); err != nil {
						t.Fatalf("cut at %d, the next run: %v", cut, err)
					}
					m.specs()
					m.whole(t, tc.want, cut)
					if ended {
						break
					}
				}
			}
		})
	}
}

// whole checks that the model is where it was to come to.
func (m *model) whole(t *testing.T, want Want, cut int) {
	t.Helper()
	if len(m.broken) > 0 {
		t.Fatalf("cut at %d: %s", cut, m.broken[0])
	}
	newest := ""
	for name, n := range m.nodes {
		p := n.pki
		if len(p.CAs) != 1 || !p.CAKey || newest != "" && p.CAs[0].Fingerprint != newest || p.Certificate.Issuer != p.CAs[0].Fingerprint ||
			want.CARotation != "" && p.CARotation != want.CARotation {
			t.Fatalf("cut at %d: %s is not done:\n%v", cut, name, m)
		}
		newest = p.CAs[0].Fingerprint
		for _, f := range want.Replace {
			if p.Certificate.Fingerprint == f {
				t.Fatalf("cut at %d: %s still has %s", cut, name, f)
			}
		}
	}
}

// An engine that does not take over what its node holds ends a run, and nothing beyond
// was done.
func TestEngineBehind(t *testing.T) {
	m := parseNodes(t, "a cas=ca2,ca1 key cert=ca1\nb cas=ca2,ca1 key cert=ca1\n")
	m.nodes["b"].cas = m.nodes["b"].pki.CAs[1:]
	m.nodes["b"].until = 1 << 20
	err := m.run(t, Want{Cluster: cluster}, 0, false, nil)
	if err == nil || !strings.Contains(err.Error(), "b: wait until the engine uses its certificates: after 40s: the engine has not taken it over") {
		t.Errorf("%v", err)
	}
	if got := m.nodes["a"].pki.Certificate.Issuer; got != "ca1" || len(m.broken) > 0 {
		t.Errorf("a's certificate is of %s; %q", got, m.broken)
	}
}
