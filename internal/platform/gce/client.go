// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	auth "cloud.google.com/go/auth"
	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/uuid"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
)

// client is a thin layer over Google's: request IDs, retries, operations that are waited
// for, and errors that are classed. Safe for concurrent use.
type client struct {
	project  string
	api      API
	first    time.Duration // the first pause before a call is repeated
	inFlight chan struct{} // holds a token per call under way, but for those that wait for an operation

	once   sync.Once
	failed error // of open
	http   *http.Client
	apis
}

// apis are Google's clients.
type apis struct {
	instances    *compute.InstancesClient
	disks        *compute.DisksClient
	firewalls    *compute.FirewallsClient
	zones        *compute.ZonesClient
	regions      *compute.RegionsClient
	networks     *compute.NetworksClient
	subnetworks  *compute.SubnetworksClient
	images       *compute.ImagesClient
	machineTypes *compute.MachineTypesClient
	diskTypes    *compute.DiskTypesClient
	zoneOps      *compute.ZoneOperationsClient
	globalOps    *compute.GlobalOperationsClient
	projects     *compute.ProjectsClient
}

const (
	callsAtOnce = 24
	// callTimeout is for one attempt, and waitTimeout for one that waits for an operation: the API
	// answers that after two minutes at the latest.
	callTimeout = time.Minute
	waitTimeout = 150 * time.Second
)

func newClient(c Config) *client {
	return &client{project: c.Project, api: c.API, first: 500 * time.Millisecond, inFlight: make(chan struct{}, callsAtOnce)}
}

// open makes Google's clients at the first call.
func (c *client) open(ctx context.Context) error {
	c.once.Do(func() {
		ctx = context.WithoutCancel(ctx) // the clients outlive the call
		options := []option.ClientOption{option.WithScopes(compute.DefaultAuthScopes()...), option.WithUserAgent("terraform-provider-holdfast")}
		switch {
		case len(c.api.Credentials) > 0:
			var kind struct {
				Type option.CredentialsType `json:"type"`
			}
			if err := json.Unmarshal(c.api.Credentials, &kind); err != nil {
				c.failed = &credentialsError{fmt.Errorf("the credentials are not JSON: %w", err)}
				return
			}
			options = append(options, option.WithAuthCredentialsJSON(kind.Type, c.api.Credentials))
		case c.api.Endpoint != "":
			options = append(options, option.WithoutAuthentication())
		}
		// One for all: each would look for credentials and connect by itself.
		var err error
		if c.http, _, err = transport.NewClient(ctx, options...); err != nil {
			c.failed = &credentialsError{err}
			return
		}
		options = []option.ClientOption{option.WithHTTPClient(c.http)}
		if c.api.Endpoint != "" {
			options = append(options, option.WithEndpoint(c.api.Endpoint))
		}
		c.failed = errors.Join(
			opened(ctx, &c.instances, compute.NewInstancesRESTClient, options), opened(ctx, &c.disks, compute.NewDisksRESTClient, options),
			opened(ctx, &c.firewalls, compute.NewFirewallsRESTClient, options), opened(ctx, &c.zones, compute.NewZonesRESTClient, options),
			opened(ctx, &c.regions, compute.NewRegionsRESTClient, options), opened(ctx, &c.networks, compute.NewNetworksRESTClient, options),
			opened(ctx, &c.subnetworks, compute.NewSubnetworksRESTClient, options), opened(ctx, &c.images, compute.NewImagesRESTClient, options),
			opened(ctx, &c.machineTypes, compute.NewMachineTypesRESTClient, options), opened(ctx, &c.diskTypes, compute.NewDiskTypesRESTClient, options),
			opened(ctx, &c.zoneOps, compute.NewZoneOperationsRESTClient, options), opened(ctx, &c.globalOps, compute.NewGlobalOperationsRESTClient, options),
			opened(ctx, &c.projects, compute.NewProjectsRESTClient, options),
		)
	})
	return c.failed
}

// close lets connections go that nobody uses.
func (c *client) close() {
	c.once.Do(func() { c.failed = &credentialsError{errClosed} })
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// opened makes one of them.
func opened[C any](ctx context.Context, into *C, open func(context.Context, ...option.ClientOption) (C, error), options []option.ClientOption) (err error) {
	*into, err = open(ctx, options...)
	return err
}

// onceOnly is the option by which Google's client leaves the repeating to this one.
var onceOnly = gax.WithRetry(func() gax.Retryer { return nil })

// do makes one call, and repeats it while the API is not well. name is of the resource.
func (c *client) do(ctx context.Context, call, name string, f func(context.Context) error) error {
	return c.repeat(ctx, call, name, callTimeout, func(ctx context.Context) error {
		select {
		case c.inFlight <- struct{}{}:
			defer func() { <-c.inFlight }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return f(ctx)
	})
}

func (c *client) repeat(ctx context.Context, call, name string, each time.Duration, f func(context.Context) error) error {
	if err := c.open(ctx); err != nil {
		return classify(call, name, err)
	}
	give := time.Now().Add(c.api.RetryFor)
	for pause := c.first; ; pause = min(pause*2, 30*time.Second) {
		attempt, cancel := context.WithTimeout(ctx, each)
		err := f(attempt)
		cancel()
		if e, ok := errors.AsType[*auth.Error](err); ok && !e.Temporary() {
			err = &credentialsError{err}
		}
		err = classify(call, name, err)
		if ctx.Err() != nil || !errors.Is(err, ErrTemporary) || time.Now().Add(pause).After(give) {
			return err
		}
		// Many that were refused at once do not come back at once.
		wait := pause/2 + rand.N(pause/2+1)
		if err := gax.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// mutate begins an operation and waits for its end. Each attempt has the same request ID, so that it
// is one operation, also where an answer was lost.
func (c *client) mutate(ctx context.Context, call, name string, begin func(ctx context.Context, id *string) (*compute.Operation, error)) error {
	id := uuid.NewString()
	var op *computepb.Operation
	err := c.do(ctx, call, name, func(ctx context.Context) error {
		begun, err := begin(ctx, &id)
		if err == nil {
			op = begun.Proto()
		}
		return err
	})
	if err != nil {
		return err
	}
	for op.GetStatus() != computepb.Operation_DONE {
		err := c.repeat(ctx, call+" (waiting)", name, waitTimeout, func(ctx context.Context) error {
			var next *computepb.Operation
			var err error
			if op.Zone != nil {
				next, err = c.zoneOps.Wait(ctx, &computepb.WaitZoneOperationRequest{Project: c.project, Zone: last(op.GetZone()), Operation: op.GetName()}, onceOnly)
			} else {
				next, err = c.globalOps.Wait(ctx, &computepb.WaitGlobalOperationRequest{Project: c.project, Operation: op.GetName()}, onceOnly)
			}
			if err == nil {
				op = next
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return failed(call, name, op)
}
