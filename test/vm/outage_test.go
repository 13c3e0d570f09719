// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"testing"
	"time"
)

// testAgentKilled kills the agent of the leader: its engine does not notice, and systemd
// starts another agent, which adopts it.
func (s *site) testAgentKilled(t *testing.T) {
	const agent = "holdfast-agent.service"
	n := s.leader(t)
	engine, killed := n.property(t, engineName, "MainPID"), n.property(t, agent, "MainPID")
	sh(t, n.Machine, "sudo kill -9 "+killed)
	until(t, "another agent answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), askMax)
		defer cancel()
		st, err := n.agent.Status(ctx)
		return err == nil && n.property(t, agent, "MainPID") != killed && st.Converging == nil
	})
	if now := n.property(t, engineName, "MainPID"); now != engine {
		t.Errorf("the engine was process %s, and is %s", engine, now)
	}
	s.tf.Settles(t)
}

// testReboot boots the leader again, in order.
func (s *site) testReboot(t *testing.T) {
	n := s.leader(t)
	l := drive(t, s, "reboot/")
	ctx, cancel := context.WithTimeout(t.Context(), bootMax)
	defer cancel()
	before, err := n.bootID(ctx, answerMax)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	sh(t, n.Machine, "sudo systemctl reboot --no-block")
	l.GoesOn(t, "while "+n.Name+" is away")
	if err := n.WaitBoot(ctx, before); err != nil {
		t.Fatal(err)
	}
	n.tunnel.Drop()
	t.Logf("%s is back after %s", n.Name, time.Since(began).Round(time.Second))
	s.well(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}

// testPowerCutOfOne cuts the power of the leader.
func (s *site) testPowerCutOfOne(t *testing.T) {
	n := s.leader(t)
	l := drive(t, s, "cut/")
	n.cutPower(t)
	l.GoesOn(t, "without "+n.Name)
	n.boot(t)
	s.well(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}

// testPowerCutOfAll cuts the power of all machines at once, under load.
func (s *site) testPowerCutOfAll(t *testing.T) {
	l := drive(t, s, "dark/")
	l.GoesOn(t, "before it")
	s.all(func(n *node) { n.cutPower(t) })
	l.Stop()
	s.all(func(n *node) { n.boot(t) })
	s.well(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}
