// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// Fault makes calls go wrong. Exactly one of HTTP, Operation, Lost and Reset
// is its effect; Then may stand with any of them, or alone.
//
// Operation is for methods that begin one; others take no notice. Go's HTTP
// client repeats a GET by itself when a connection that it had used before ends
// without an answer, so that one Lost or Reset of a GET may go unseen.
type Fault struct {
	Method string // compute.instances.insert; "" is every method
	Target string // a part of the target, as instances/orders-a; "" is every target
	Call   int    // which of the calls that match, from 1; 0 is every one

	HTTP      *HTTPError      // answered; nothing is done
	Operation *OperationError // the request is accepted, and its operation fails
	Lost      bool            // the request is carried out, and the connection ends before the answer
	Reset     bool            // the connection ends before the request is looked at
	Then      func()          // called once the effect is there, before the answer is: a client that dies just then
}

// OperationError is what an operation fails with.
type OperationError struct {
	Code, Message string
	Details       []*computepb.ErrorDetails
	HTTPStatus    int32  // httpErrorStatusCode
	HTTPMessage   string // httpErrorMessage
}

func (e *OperationError) Error() string { return e.Code + ": " + e.Message }

// Injected is a fault that was handed to a server.
type Injected struct {
	fault   Fault
	matched int // guarded by the server's mutex
	fired   atomic.Int64
}

// Fired tells how many calls the fault has hit.
func (i *Injected) Fired() int { return int(i.fired.Load()) }

// Inject adds a fault. Of several that hit a call, the one that was injected
// first takes effect.
func (s *Server) Inject(f Fault) *Injected {
	i := &Injected{fault: f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.faults = append(s.mu.faults, i)
	return i
}

// ClearFaults takes all injected faults back.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.faults = nil
}

// faultLocked counts the call for every fault that matches, and returns the one
// that hits it.
func (s *Server) faultLocked(method, target string) *Fault {
	var hit *Injected
	for _, i := range s.mu.faults {
		if i.fault.Method != "" && i.fault.Method != method || !strings.Contains(target, i.fault.Target) {
			continue
		}
		i.matched++
		if hit == nil && (i.fault.Call == 0 || i.fault.Call == i.matched) {
			hit = i
		}
	}
	if hit == nil {
		return &Fault{}
	}
	hit.fired.Add(1)
	return &hit.fault
}

// The errors below are those that a client of Compute Engine should know.

// QuotaExceeded is the answer to a request for more than a region's limit.
func QuotaExceeded(metric, region string, limit float64) *HTTPError {
	return &HTTPError{Status: http.StatusForbidden, Reason: "quotaExceeded", Domain: "usageLimits",
		Message: fmt.Sprintf("Quota '%s' exceeded.  Limit: %.1f in region %s.", metric, limit, region)}
}

// AccessNotConfigured is the answer while the API is not enabled.
func AccessNotConfigured(project string) *HTTPError {
	link := "https://console.developers.google.com/apis/api/compute.googleapis.com/overview?project=" + project
	return &HTTPError{Status: http.StatusForbidden, Reason: "accessNotConfigured", Domain: "usageLimits",
		Message: fmt.Sprintf("Compute Engine API has not been used in project %s before or it is disabled. Enable it by visiting %s then retry.", project, link),
		Details: []map[string]any{{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
			"metadata": map[string]string{"service": "compute.googleapis.com", "consumer": "projects/" + project},
		}}}
}

// Forbidden is the answer to somebody who lacks a permission.
func Forbidden(permission, path string) *HTTPError {
	return &HTTPError{Status: http.StatusForbidden, Reason: "forbidden",
		Message: fmt.Sprintf("Required '%s' permission for '%s'", permission, path)}
}

// AlreadyExists is the answer to a name that is taken.
func AlreadyExists(path string) *HTTPError {
	return &HTTPError{Status: http.StatusConflict, Reason: "alreadyExists", Message: fmt.Sprintf("The resource '%s' already exists", path)}
}

// ConditionNotMet is the answer to a fingerprint that is not current.
func ConditionNotMet() *HTTPError {
	return &HTTPError{Status: http.StatusPreconditionFailed, Reason: "conditionNotMet", Message: "Supplied fingerprint does not match current fingerprint."}
}

// RateLimited is the answer to too many calls.
func RateLimited() *HTTPError {
	return &HTTPError{Status: http.StatusTooManyRequests, Reason: "rateLimitExceeded", Domain: "usageLimits", Message: "Rate Limit Exceeded"}
}

// BackendError is the answer of a service that has trouble itself: 500 or 503.
func BackendError(status int) *HTTPError {
	return &HTTPError{Status: status, Reason: "backendError", Message: "Backend Error"}
}

// OperationQuotaExceeded is a quota that was found to be short only while the
// operation ran.
func OperationQuotaExceeded(metric, region string, limit float64) *OperationError {
	return &OperationError{
		Code: "QUOTA_EXCEEDED", HTTPStatus: http.StatusForbidden, HTTPMessage: "FORBIDDEN",
		Message: fmt.Sprintf("Quota '%s' exceeded.  Limit: %.1f in region %s.", metric, limit, region),
		Details: []*computepb.ErrorDetails{{QuotaInfo: &computepb.QuotaExceededInfo{
			MetricName: new("compute.googleapis.com/" + strings.ToLower(metric)), LimitName: new(strings.ReplaceAll(metric, "_", "-") + "-per-project-region"),
			Limit: new(limit), Dimensions: map[string]string{"region": region},
		}}},
	}
}

// ZoneExhausted is a zone that has no room for a machine; others may have.
func ZoneExhausted(project, zone, machineType string, others []string) *OperationError {
	detail := fmt.Sprintf("A %s VM instance is currently unavailable in the %s zone.", machineType, zone)
	if len(others) > 0 {
		detail += fmt.Sprintf(" Consider trying your request in the %s zone(s), which currently has capacity to accommodate your request.", strings.Join(others, ", "))
	}
	return &OperationError{
		Code: "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", HTTPStatus: http.StatusServiceUnavailable, HTTPMessage: "SERVICE UNAVAILABLE",
		Message: fmt.Sprintf("The zone 'projects/%s/zones/%s' does not have enough resources available to fulfill the request.  '(resource type:compute)'.", project, zone),
		Details: []*computepb.ErrorDetails{
			{Help: &computepb.Help{Links: []*computepb.HelpLink{{Description: new("Troubleshooting documentation"), Url: new("https://cloud.google.com/compute/docs/resource-error")}}}},
			{LocalizedMessage: &computepb.LocalizedMessage{Locale: new("en-US"), Message: new(detail)}},
			{ErrorInfo: &computepb.ErrorInfo{Domain: new("compute.googleapis.com"), Reason: new("resource_availability"),
				Metadatas: map[string]string{"vmType": machineType, "zone": zone, "attachment": "", "zonesAvailable": strings.Join(others, ",")}}},
		},
	}
}
