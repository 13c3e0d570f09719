// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/googleapi"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// The classes of an *Error of the API: what to do about it depends on them.
var (
	ErrCredentials = errors.New("the credentials are missing or not accepted")
	ErrPermission  = errors.New("a permission is missing")
	ErrDisabled    = errors.New("the API is not enabled in the project")
	ErrQuota       = errors.New("a quota of the project is used up")
	ErrExhausted   = errors.New("the zone has no room for the machine")
	ErrTaken       = errors.New("the name is taken")
	ErrNotFound    = errors.New("it does not exist")
	ErrConflict    = errors.New("somebody else changed it at the same time")
	ErrNotReady    = errors.New("something else is being done with it")
	ErrInUse       = errors.New("something else uses it")
	ErrInvalid     = errors.New("the API does not take the value")
	// ErrTemporary is returned when the API was not well for as long as API.RetryFor.
	ErrTemporary = errors.New("the API does not answer as it should")
)

// Error is a call that the API refused, or an operation that failed. It is classed by the
// reason or code that Google gives, never by the text.
type Error struct {
	Class  error    // one of the above
	Call   string   // disks.insert
	Name   string   // of the resource
	Reason string   // Google's: quotaExceeded, QUOTA_EXCEEDED
	Text   string   // Google's
	Zones  []string // of ErrExhausted: other zones that have room
	err    error
}

func (e *Error) Error() string {
	s := e.Call + " " + e.Name + ": " + e.Class.Error()
	if e.Text != "" {
		s += ": " + strings.TrimSuffix(e.Text, ".")
	}
	return s
}

// Unwrap returns the class and the error below.
func (e *Error) Unwrap() []error {
	if e.err == nil {
		return []error{e.Class}
	}
	return []error{e.Class, e.err}
}

// stale tells whether what was seen before the call has changed since: another look is
// worth it, and the error is none.
func stale(err error) bool {
	for _, class := range []error{ErrConflict, ErrNotReady, ErrNotFound, ErrInUse, errChanged} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// errChanged is a resource that is not as it was when it was looked at.
var errChanged = errors.New("it has changed since it was looked at")

// byReason are the classes of the reasons of answers and of the codes of operations, which say the
// same in another spelling.
var byReason = map[string]error{
	"quotaExceeded": ErrQuota, "limitExceeded": ErrQuota, "resourceQuotaExceeded": ErrQuota,
	"rateLimitExceeded": ErrTemporary, "userRateLimitExceeded": ErrTemporary, "concurrentOperationsQuotaExceeded": ErrTemporary,
	"backendError": ErrTemporary, "internalError": ErrTemporary,
	"accessNotConfigured": ErrDisabled, "SERVICE_DISABLED": ErrDisabled,
	"forbidden": ErrPermission, "insufficientPermissions": ErrPermission, "IAM_PERMISSION_DENIED": ErrPermission,
	"permissionsError": ErrPermission, "authError": ErrCredentials, "required_login": ErrCredentials,
	"alreadyExists": ErrTaken, "resourceAlreadyExists": ErrTaken, "duplicate": ErrTaken,
	"notFound": ErrNotFound, "resourceNotFound": ErrNotFound,
	"conditionNotMet":  ErrConflict,
	"resourceNotReady": ErrNotReady, "resourceInUseByAnotherResource": ErrInUse, "resourceInUse": ErrInUse,
	"zoneResourcePoolExhausted": ErrExhausted, "zoneResourcePoolExhaustedWithDetails": ErrExhausted, "stockout": ErrExhausted, "resourcePoolExhausted": ErrExhausted,
}

var byStatus = map[int]error{
	http.StatusUnauthorized: ErrCredentials, http.StatusForbidden: ErrPermission, http.StatusNotFound: ErrNotFound,
	http.StatusConflict: ErrTaken, http.StatusPreconditionFailed: ErrConflict, http.StatusTooManyRequests: ErrTemporary,
	http.StatusRequestTimeout: ErrTemporary,
}

// camel is a code of an operation in the spelling of reasons: RESOURCE_NOT_READY, resourceNotReady.
func camel(code string) string {
	words := strings.Split(strings.ToLower(code), "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

// classify is the *Error of a call that returned err.
func classify(call, name string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Call: call, Name: name, err: err}
	if answer, ok := errors.AsType[*googleapi.Error](err); ok {
		reasons := detailReasons(answer)
		for _, item := range answer.Errors {
			reasons = append(reasons, item.Reason)
		}
		e.Text = answer.Message
		e.Reason, e.Class = classOf(reasons, answer.Code)
		return e
	}
	if own, ok := errors.AsType[*credentialsError](err); ok {
		e.Class, e.Text = ErrCredentials, own.Error()
		return e
	}
	e.Class, e.Text = ErrTemporary, err.Error()
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s %s: %w", call, name, err)
	}
	return e
}

// classOf is the class of the first reason that is known, else that of the status.
func classOf(reasons []string, status int) (reason string, class error) {
	for _, r := range reasons {
		if class, ok := byReason[r]; ok {
			return r, class
		}
	}
	if len(reasons) > 0 {
		reason = reasons[0]
	}
	if class, ok := byStatus[status]; ok {
		return reason, class
	}
	if status >= 500 {
		return reason, ErrTemporary
	}
	return reason, ErrInvalid
}

// detailReasons are the reasons of google.rpc.ErrorInfo among the details of an answer.
func detailReasons(answer *googleapi.Error) []string {
	var out []string
	for _, detail := range answer.Details {
		data, err := json.Marshal(detail)
		if err != nil {
			continue
		}
		var info struct {
			Reason string `json:"reason"`
		}
		if json.Unmarshal(data, &info) == nil && info.Reason != "" {
			out = append(out, info.Reason)
		}
	}
	return out
}

// failed is the error of an operation that is done; nil where it went well.
func failed(call, name string, op *computepb.Operation) error {
	failures := op.GetError().GetErrors()
	if len(failures) == 0 {
		if op.GetHttpErrorStatusCode() >= 400 {
			_, class := classOf(nil, int(op.GetHttpErrorStatusCode()))
			return &Error{Call: call, Name: name, Class: class, Text: op.GetHttpErrorMessage()}
		}
		return nil
	}
	e := &Error{Call: call, Name: name, Reason: failures[0].GetCode()}
	var codes, texts []string
	for _, f := range failures {
		codes = append(codes, camel(f.GetCode()))
		texts = append(texts, f.GetMessage())
		for _, d := range f.GetErrorDetails() {
			if zones := d.GetErrorInfo().GetMetadatas()["zonesAvailable"]; zones != "" {
				e.Zones = append(e.Zones, strings.Split(zones, ",")...)
			}
		}
	}
	slices.Sort(e.Zones)
	e.Text = strings.Join(texts, "; ")
	_, e.Class = classOf(codes, int(op.GetHttpErrorStatusCode()))
	return e
}

// next is what a person does next, by the class of an error.
var next = map[error]string{
	ErrCredentials: "Give the provider credentials, or run: gcloud auth application-default login.",
	ErrPermission:  "Give the account that applies the role roles/compute.instanceAdmin.v1, for firewall rules roles/compute.securityAdmin, and for the machines' service account roles/iam.serviceAccountUser.",
	ErrDisabled:    "Enable it: gcloud services enable compute.googleapis.com.",
	ErrQuota:       "Ask for more of it at https://console.cloud.google.com/iam-admin/quotas, free some, or ask for less, and apply again: what was made is kept.",
	ErrExhausted:   "Use another zone or machine type, or apply again later: what was made is kept.",
	ErrTaken:       "Use another name for the cluster or the node, or remove what has it. It was not touched.",
	ErrConflict:    "See what else changes it, and apply again.",
	ErrNotReady:    "See what else changes it, and apply again.",
	ErrInUse:       "See what else changes it, and apply again.",
	ErrNotFound:    "Name one that exists.",
	ErrTemporary:   "Apply again: what was made is kept. https://status.cloud.google.com says how Google is.",
	ErrInvalid:     "Correct it and apply again: what was made is kept.",
}

// advice is what a person does next about err.
func advice(err error) string {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return "Apply again: what was made is kept."
	case len(e.Zones) > 0:
		return "Use another zone (" + strings.Join(e.Zones, ", ") + " had room) or machine type, or apply again later: what was made is kept."
	}
	return next[e.Class]
}

// advised is err for a person, with what to do next.
func advised(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*platform.Error](err); ok {
		return err
	}
	return &platform.Error{What: what, Err: err, Next: advice(err)}
}

// problems are failures that are told together.
type problems []error

func (p *problems) add(err error) {
	if err != nil {
		*p = append(*p, err)
	}
}

// join is all of them in one; nil where there is none.
func (p problems) join(what string) error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return p[0]
	}
	return &platform.Error{What: what, Err: errors.Join(p...), Next: "Mend each of these and try again."}
}

// nodeError is a failure of one node.
type nodeError struct {
	node string
	err  error
}

func (e nodeError) Error() string { return "node " + e.node + ": " + e.err.Error() }
func (e nodeError) Unwrap() error { return e.err }

// credentialsError is a failure to find or use credentials, before any call.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }
