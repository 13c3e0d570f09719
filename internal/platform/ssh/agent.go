// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // the scripts
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

//go:embed script/record.sh
var recordScript string

// Bounds of what is waited for. A machine that is emulated takes its time.
const (
	installBound = 3 * time.Minute
	removeBound  = 10 * time.Minute // systemd gives the engine and each mount two
	answerBound  = 15 * time.Second
)

// ensure makes the machine the node: claimed, with the binary and an agent that
// answers. rec is the record that was there when it was looked at; nil: none.
func (n *node) ensure(ctx context.Context, c platform.Cluster, asked platform.Node, bin *binary, rec *record, say say) (platform.Machine, error) {
	want := recordFor(c, asked, rec)
	switch {
	case rec == nil:
		if err := n.claim(ctx, want); err != nil {
			return platform.Machine{}, err
		}
		say("claimed %s for cluster %s (%s)", n.cfg.Address, c.Name, c.ID)
	case !rec.equal(want):
		if err := n.write(ctx, want, false); err != nil {
			return platform.Machine{}, err
		}
		say("recorded what is asked for")
	}
	installed, err := bin.upload(ctx, n)
	if err != nil {
		return platform.Machine{}, err
	}
	if installed.Changed {
		say("installed %s, %.12s", binaryPath, installed.SHA256)
	}
	if rec == nil || installed.Changed {
		say("starting the agent")
	}
	if err := n.start(ctx, say); err != nil {
		return platform.Machine{}, n.goBack(ctx, want, installed.SHA256, err, say)
	}
	if want.Binary != installed.SHA256 {
		want.Binary = installed.SHA256
		if err := n.write(ctx, want, false); err != nil {
			return platform.Machine{}, err
		}
	}
	return want.machine(n.address), nil
}

// claim makes the record of a machine that has none.
func (n *node) claim(ctx context.Context, rec *record) error {
	err := n.write(ctx, rec, true)
	if !errors.Is(err, errOther) {
		return err
	}
	// Another run was here since, or an earlier attempt of this one whose answer was lost.
	f, err := n.look(ctx)
	if err != nil {
		return err
	}
	return f.mayBe(rec.Cluster, platform.Node{Name: rec.Node}, nil)
}

// write writes the record. Where claim is true there must be none: errOther.
func (n *node) write(ctx context.Context, rec *record, claim bool) error {
	b, err := rec.encode()
	if err != nil {
		return err
	}
	attempt := make([]byte, 8)
	_, _ = rand.Read(attempt) // it never fails
	env := map[string]string{"DIR": stateDir, "SIZE": strconv.Itoa(len(b)), "ATTEMPT": hex.EncodeToString(attempt), "LC_ALL": "C"}
	if env["CLAIM"] = "no"; claim {
		env["CLAIM"] = "yes"
	}
	_, err = n.host.Run(ctx, sshhost.Command{What: "writing " + recordPath, Script: recordScript, Root: true, Idempotent: true, Timeout: lookBound,
		Stdin: bytes.NewReader(b), Env: env})
	if exit, ok := errors.AsType[*sshhost.ExitError](err); ok && exit.Code == 17 {
		return errOther
	}
	return err
}

// start installs the agent's service, has it run the binary that is there, and checks that
// the agent answers. One that does so already is left alone.
func (n *node) start(ctx context.Context, say say) error {
	result, err := n.host.Run(ctx, sshhost.Command{What: "holdfast agent install", Args: []string{binaryPath, "agent", "install", "-node", n.name},
		Root: true, Idempotent: true, Timeout: installBound})
	if err != nil {
		return n.noAgent(ctx, err)
	}
	say.lines(result.Stdout)
	st, err := n.status(ctx)
	if err != nil {
		return n.noAgent(ctx, err)
	}
	if st.Node != "" && st.Node != n.name {
		return &platform.Error{What: n.cfg.Address + " is not used", Err: fmt.Errorf("%w: that of node %s, not %s", errAgent, st.Node, n.name),
			Next: "Give every node the machine that it had."}
	}
	say("the agent %s answers", st.Agent.Version)
	return nil
}

// status asks the agent. An answer that ends early is an agent's end or the connection's: the
// machine is asked which, and the agent once more.
func (n *node) status(ctx context.Context) (agentapi.Status, error) {
	ask := func() (agentapi.Status, error) {
		bound, cancel := context.WithTimeout(ctx, answerBound)
		defer cancel()
		return n.Agent().Status(bound)
	}
	st, err := ask()
	if !errors.Is(err, agentapi.ErrUnreachable) || lost(err) {
		return st, err
	}
	if _, err := n.host.Run(ctx, sshhost.Command{What: "asking for a sign of life", Script: "exit 0", Idempotent: true, Timeout: answerBound}); err != nil {
		return st, err
	}
	return ask()
}

// noAgent is why there is no agent, for a person.
func (n *node) noAgent(ctx context.Context, err error) error {
	if ctx.Err() != nil || lost(err) {
		return err
	}
	return &platform.Error{What: "the agent of " + n.cfg.Address + " does not come up", Err: err, Next: "See journalctl -u holdfast-agent there, and apply again."}
}

// broke tells what a cut connection means for an apply.
func (n *node) broke(err error) error {
	if !errors.Is(err, sshhost.ErrConnectionLost) {
		return err
	}
	return &platform.Error{What: "the connection to " + n.cfg.Address + " broke", Err: err, Next: "Apply again: it goes on from there."}
}

// goBack puts the last binary whose agent answered in the place of one whose agent does
// not come up, and returns why, with what became of it. Where the machine could not be
// asked, nothing is known of the new one, and it stays.
func (n *node) goBack(ctx context.Context, rec *record, installed string, failure error, say say) error {
	if ctx.Err() != nil || lost(failure) || rec.Binary == "" || rec.Binary == installed {
		return failure
	}
	before, err := n.previous(ctx)
	if err != nil || before != rec.Binary {
		return failure // there is nothing to go back to, or the machine is gone now
	}
	say("the agent of the new binary did not come up, going back to the previous one")
	what := fmt.Sprintf("the new holdfast binary (%.12s) does not run on %s", installed, n.cfg.Address)
	failure = fmt.Errorf("%w: %w", errFailed, failure)
	err = n.host.Rollback(ctx, binaryPath, true)
	if err == nil {
		err = n.start(ctx, say)
	}
	if err != nil {
		return &platform.Error{What: what, Err: errors.Join(failure, fmt.Errorf("going back to %.12s: %w", before, err)),
			Next: "See journalctl -u holdfast-agent there. The engine goes on without an agent; the next apply tries the new binary again."}
	}
	return &platform.Error{What: what, Err: failure,
		Next: fmt.Sprintf("The previous one (%.12s) was put back, and its agent answers. See journalctl -u holdfast-agent there.", before)}
}

// lost tells whether a failure is one of the connection: it says nothing of the agent.
func lost(err error) bool {
	for _, class := range []error{sshhost.ErrConnectionLost, sshhost.ErrUnreachable, sshhost.ErrClosed, sshhost.ErrRefused, sshhost.ErrAuth, sshhost.ErrHostKey} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
