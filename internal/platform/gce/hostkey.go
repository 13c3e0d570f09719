// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/googleapis/gax-go/v2"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// keysPath is where the guest agent writes the host keys that sshd has: by type, the key in base64.
const keysPath = "hostkeys/"

// hostKeys are the host keys of machines that run, by node. They come from the guest attributes: a
// machine writes them where only it can, and Google's API, whose TLS is verified, reads them. wait is
// for machines that are starting: one that says nothing for BootTimeout is then an error.
// Without it, such a one is left out.
func (p *Platform) hostKeys(ctx context.Context, instances []instance, wait bool) (map[string][]string, error) {
	out := map[string][]string{}
	if p.cfg.Access.KnownHosts != "" {
		return out, nil
	}
	var mu sync.Mutex // guards out and failures
	var failures problems
	var wg sync.WaitGroup
	for _, i := range instances {
		if i.status != "RUNNING" {
			continue
		}
		wg.Go(func() {
			keys, err := p.keysOf(ctx, i, wait)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures.add(nodeError{i.node(), err})
			} else if len(keys) > 0 {
				out[i.node()] = keys
			}
		})
	}
	wg.Wait()
	return out, failures.join("the machines do not say which host keys they have")
}

// keysOf are the host keys of one machine, which are asked for once, and again by moreKeys.
func (p *Platform) keysOf(ctx context.Context, i instance, wait bool) ([]string, error) {
	p.mu.Lock()
	keys := p.mu.keys[i.id]
	p.mu.Unlock()
	if len(keys) > 0 {
		return keys, nil
	}
	if wait {
		p.told.step("node %s: waiting for machine %s to tell its host keys", i.node(), i.name)
	}
	patience := p.cfg.BootTimeout
	if !wait {
		patience = 0
	}
	keys, err := p.client.awaitKeys(ctx, i, patience)
	if len(keys) > 0 {
		p.mu.Lock()
		p.mu.keys[i.id] = keys
		p.mu.Unlock()
	}
	return keys, err
}

// moreKeys asks a machine for its keys anew. Google's guest agent makes those of a new one, and tells each when
// it is made: the first look may find one that its sshd does not use.
func (p *Platform) moreKeys(i instance) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		keys, err := p.client.readKeys(ctx, i)
		if len(keys) > 0 {
			p.mu.Lock()
			p.mu.keys[i.id] = keys
			p.mu.Unlock()
		}
		return keys, err
	}
}

// awaitKeys are the host keys of a machine, which may take patience to tell them. Without any patience, there are
// none where it tells none.
func (c *client) awaitKeys(ctx context.Context, i instance, patience time.Duration) ([]string, error) {
	give := time.Now().Add(patience)
	for pause := c.first; ; pause = min(pause*2, 5*time.Second) {
		keys, err := c.readKeys(ctx, i)
		missing := errors.Is(err, ErrNotFound) || err == nil && len(keys) == 0
		switch {
		case err == nil && len(keys) > 0:
			return keys, nil
		case patience == 0 && (missing || errors.Is(err, ErrPermission)):
			return nil, nil
		case !missing:
			return nil, advised("its host keys are not known", err)
		case time.Now().Add(pause).After(give):
			return nil, c.silent(ctx, i)
		}
		if err := gax.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func (c *client) readKeys(ctx context.Context, i instance) (keys []string, err error) {
	err = c.do(ctx, "instances.getGuestAttributes", i.name, func(ctx context.Context) error {
		got, err := c.instances.GetGuestAttributes(ctx, &computepb.GetGuestAttributesInstanceRequest{
			Project: c.project, Zone: i.zone, Instance: i.name, QueryPath: new(keysPath)}, onceOnly)
		keys = nil
		for _, item := range got.GetQueryValue().GetItems() {
			keys = append(keys, item.GetKey()+" "+item.GetValue())
		}
		return err
	})
	return keys, err
}

var errSilent = errors.New("its guest agent wrote no host keys")

// silent is the error of a machine that does not come up, with the end of what it wrote to its
// serial port.
func (c *client) silent(ctx context.Context, i instance) error {
	return &platform.Error{What: "machine " + i.name + " does not come up", Err: fmt.Errorf("%w\n%s", errSilent, c.serial(ctx, i)),
		Next: "The image needs Google's guest agent, and the machine a way to its metadata server. Where it has neither, name a known_hosts file."}
}

// serial is the end of what a machine wrote to its first serial port, to be read by a person.
func (c *client) serial(ctx context.Context, i instance) string {
	const tail, lines = 8 << 10, 20
	var text string
	err := c.do(ctx, "instances.getSerialPortOutput", i.name, func(ctx context.Context) error {
		got, err := c.instances.GetSerialPortOutput(ctx, &computepb.GetSerialPortOutputInstanceRequest{
			Project: c.project, Zone: i.zone, Instance: i.name, Start: new(int64(-tail))}, onceOnly)
		text = got.GetContents()
		return err
	})
	if err != nil {
		return "its serial port cannot be read: " + err.Error()
	}
	all := strings.Split(strings.TrimSpace(plain(text)), "\n")
	if text = strings.Join(all[max(0, len(all)-lines):], "\n"); text == "" {
		return "it wrote nothing to its serial port"
	}
	return "the end of its serial port:\n" + text
}

// plain is text without what moves a terminal.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, text)
}

// withSerial adds the end of the serial port of every machine that does not answer to an error.
func (p *Platform) withSerial(ctx context.Context, err error, way Reached, instances []instance) error {
	machines, lookErr := way.Observe(ctx)
	if lookErr != nil {
		return err
	}
	var tails []error
	for _, i := range instances {
		if m, ok := machines[i.node()]; ok && len(m.Stores) == 0 {
			tails = append(tails, nodeError{i.node(), errors.New(p.client.serial(ctx, i))})
		}
	}
	if len(tails) == 0 {
		return err
	}
	return errors.Join(append([]error{err}, tails...)...)
}
