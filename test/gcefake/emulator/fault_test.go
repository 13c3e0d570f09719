// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/googleapi"
)

// TestHTTPFaults hits the second disk that is made, by each error of the API,
// and looks at it as the client does.
func TestHTTPFaults(t *testing.T) {
	for _, tc := range []struct {
		fault  *HTTPError
		status int
		reason string
	}{
		{QuotaExceeded("SSD_TOTAL_GB", "us-east4", 500), 403, "quotaExceeded"},
		{AccessNotConfigured(project), 403, "accessNotConfigured"},
		{Forbidden("compute.disks.create", "projects/"+project), 403, "forbidden"},
		{AlreadyExists("projects/p/zones/z/disks/b"), 409, "alreadyExists"},
		{ConditionNotMet(), 412, "conditionNotMet"},
		{RateLimited(), 429, "rateLimitExceeded"},
		{BackendError(http.StatusInternalServerError), 500, "backendError"},
		{BackendError(http.StatusServiceUnavailable), 503, "backendError"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c := newCloud(t, Config{})
			fault := c.Inject(Fault{Method: "compute.disks.insert", Call: 2, HTTP: tc.fault})
			for n, name := range []string{"a", "b", "b"} {
				_, err := c.insertDisk(blankDisk(name))
				if n == 1 {
					refused(t, err, tc.status, tc.reason, tc.fault.Message)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if fault.Fired() != 1 {
				t.Errorf("the fault has hit %d calls", fault.Fired())
			}
		})
	}
}

// TestAccessNotConfigured has the structured detail that tells a disabled API
// from a missing permission, and hits every call. (gax's APIError does not get
// at the detail: it refuses bodies that have the list of errors beside it.)
func TestAccessNotConfigured(t *testing.T) {
	c := newCloud(t, Config{})
	c.Inject(Fault{HTTP: AccessNotConfigured(project)})
	_, err := c.projects.Get(t.Context(), &computepb.GetProjectRequest{Project: project})
	refused(t, err, 403, "accessNotConfigured", "Enable it by visiting")
	if g, ok := errors.AsType[*googleapi.Error](err); ok {
		detail, _ := g.Details[0].(map[string]any)
		if detail["reason"] != "SERVICE_DISABLED" {
			t.Errorf("details: %v", g.Details)
		}
	}
	c.ClearFaults()
	if _, err := c.projects.Get(t.Context(), &computepb.GetProjectRequest{Project: project}); err != nil {
		t.Error(err)
	}
}

// TestOperationFaults fails what was accepted.
func TestOperationFaults(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	c.Inject(Fault{Method: "compute.instances.insert", Target: "instances/b", Call: 1, Operation: OperationQuotaExceeded("CPUS", "us-east4", 8)})
	if _, err := c.insert(smallMachine("a")); err != nil {
		t.Fatal(err)
	}
	op, err := c.insert(smallMachine("b"))
	failure, ok := errors.AsType[*OperationError](err)
	if !ok || failure.Code != "QUOTA_EXCEEDED" || failure.Details[0].GetQuotaInfo().GetLimit() != 8 || op.GetHttpErrorStatusCode() != 403 {
		t.Fatalf("the operation %v ended with %v", op, err)
	}
	_, err = c.instances.Get(ctx, &computepb.GetInstanceRequest{Project: project, Zone: zone, Instance: "b"})
	refused(t, err, 404, "notFound", "instances/b")
	if _, err := c.insert(smallMachine("b")); err != nil {
		t.Errorf("the second time: %v", err)
	}

	// The client's own Wait makes an error of an operation's.
	c.Inject(Fault{Method: "compute.disks.delete", Operation: &OperationError{Code: "RESOURCE_IN_USE", Message: "later", HTTPStatus: 400, HTTPMessage: "BAD REQUEST"}})
	if _, err := c.insertDisk(blankDisk("d")); err != nil {
		t.Fatal(err)
	}
	remove, err := c.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "d"})
	if err != nil {
		t.Fatal(err)
	}
	if err := remove.Wait(ctx); err == nil || !strings.Contains(err.Error(), "RESOURCE_IN_USE") {
		t.Errorf("Wait returned %v", err)
	}
	if got := c.disk("d").GetStatus(); got != "READY" {
		t.Errorf("the disk is %s", got)
	}
}

// TestExhausted finds no room in a zone, and the error names the other one.
func TestExhausted(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	if _, err := c.insert(smallMachine("a")); err != nil {
		t.Fatal(err)
	}
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "a"}))
	c.SetExhausted(zone, true)
	_, insertErr := c.insert(smallMachine("b"))
	_, startErr := c.done(c.instances.Start(ctx, &computepb.StartInstanceRequest{Project: project, Zone: zone, Instance: "a"}))
	for _, err := range []error{insertErr, startErr} {
		failure, ok := errors.AsType[*OperationError](err)
		if !ok || failure.Code != "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS" {
			t.Fatalf("the operation ended with %v", err)
		}
		var zones string
		for _, d := range failure.Details {
			zones += d.GetErrorInfo().GetMetadatas()["zonesAvailable"]
		}
		if zones != "us-east4-b" {
			t.Errorf("zones with room: %q", zones)
		}
	}
	if got := c.instance("a").GetStatus(); got != "TERMINATED" {
		t.Errorf("the machine is %s", got)
	}
	c.SetExhausted(zone, false)
	c.must(c.instances.Start(ctx, &computepb.StartInstanceRequest{Project: project, Zone: zone, Instance: "a"}))
}

// TestLostAnswers end connections: before a request was looked at, and after
// it was carried out.
func TestLostAnswers(t *testing.T) {
	c := newCloud(t, Config{})
	insert := func(name string, id *string) error {
		_, err := c.done(c.disks.Insert(t.Context(), &computepb.InsertDiskRequest{Project: project, Zone: zone, RequestId: id, DiskResource: blankDisk(name)}))
		return err
	}
	broken := func(err error) {
		t.Helper()
		if _, answered := errors.AsType[*googleapi.Error](err); err == nil || answered {
			t.Errorf("error %v, want one of the connection", err)
		}
	}
	var died atomic.Bool
	c.Inject(Fault{Method: "compute.disks.insert", Target: "disks/reset", Call: 1, Reset: true})
	c.Inject(Fault{Method: "compute.disks.insert", Target: "disks/lost", Call: 1, Lost: true, Then: func() { died.Store(true) }})
	broken(insert("reset", nil))
	_, err := c.disks.Get(t.Context(), &computepb.GetDiskRequest{Project: project, Zone: zone, Disk: "reset"})
	refused(t, err, 404, "notFound", "disks/reset")
	if err := insert("reset", nil); err != nil {
		t.Errorf("the second time: %v", err)
	}

	id := new("6a7ff1cc-1d3f-4b5a-9a55-111111111111")
	broken(insert("lost", id))
	if !died.Load() {
		t.Error("Then was not called")
	}
	if got := c.disk("lost").GetName(); got != "lost" {
		t.Errorf("the disk is %q", got)
	}
	if err := insert("lost", id); err != nil {
		t.Errorf("with the same request ID: %v", err)
	}
	refused(t, insert("lost", nil), 409, "alreadyExists", "disks/lost")
	for _, call := range c.Calls() {
		if call.Fault != (call.Status == 0) {
			t.Errorf("in the log: %+v", call)
		}
	}
}

// TestToken wants credentials.
func TestToken(t *testing.T) {
	c := newCloud(t, Config{Token: "secret"})
	_, err := c.projects.Get(t.Context(), &computepb.GetProjectRequest{Project: project})
	refused(t, err, 401, "authError", "invalid authentication credentials")
	req, err := http.NewRequestWithContext(t.Context(), "GET", c.url+"/compute/v1/projects/"+project, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("with the token: %s", resp.Status)
	}
}

// TestViolations sends what Google's client cannot be made to send, and finds
// it refused and in the log.
func TestViolations(t *testing.T) {
	c := newCloud(t, Config{})
	c.violations = true
	const disks = "/compute/v1/projects/" + project + "/zones/" + zone + "/disks"
	for body, says := range map[string]string{
		`{"name":"d","size_gb":"10"}`: "body.size_gb: no such field; the name is sizeGb",
		`{"name":"d","sizeGb":10}`:    "body.sizeGb: wants a string",
		`{"sizeGb":"10"}`:             "body.name: compute.disks.insert requires it",
	} {
		c.ForgetCalls()
		resp, err := http.Post(c.url+disks, "application/json", strings.NewReader(body)) //nolint:noctx // a body of a few bytes
		if err != nil {
			t.Fatal(err)
		}
		refused(t, googleapi.CheckResponse(resp), 400, "invalid", says)
		_ = resp.Body.Close()
		if got := c.Violations(); len(got) != 1 || !strings.HasPrefix(got[0].Violations[0].String(), strings.Split(says, ";")[0]) {
			t.Errorf("in the log: %v", got)
		}
	}
	_, err := c.done(c.networks.Insert(t.Context(), &computepb.InsertNetworkRequest{Project: project, NetworkResource: &computepb.Network{Name: new("n"), Id: new(uint64(1))}}))
	refused(t, err, 400, "invalid", "body.id: is set by the server alone")
	_, err = c.disks.StopAsyncReplication(t.Context(), &computepb.StopAsyncReplicationDiskRequest{Project: project, Zone: zone, Disk: "d"})
	refused(t, err, 501, "notImplemented", "compute.disks.stopAsyncReplication is not emulated")
}
