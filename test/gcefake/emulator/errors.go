// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// HTTPError is an answer that is an error, as Compute Engine writes it.
type HTTPError struct {
	Status  int
	Reason  string // notFound: what clients tell errors apart by
	Domain  string // global
	Message string
	// Details is for what newer parts of the API add: google.rpc.ErrorInfo.
	Details []map[string]any
}

func (e *HTTPError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Reason, e.Message) }

// MarshalJSON writes the body of the answer.
func (e *HTTPError) MarshalJSON() ([]byte, error) {
	domain := e.Domain
	if domain == "" {
		domain = "global"
	}
	body := map[string]any{
		"code":    e.Status,
		"message": e.Message,
		"errors":  []map[string]any{{"message": e.Message, "domain": domain, "reason": e.Reason}},
	}
	if len(e.Details) > 0 {
		body["details"] = e.Details
		body["status"] = statusNames[e.Status]
	}
	return json.Marshal(map[string]any{"error": body})
}

var statusNames = map[int]string{
	http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED",
	http.StatusTooManyRequests: "RESOURCE_EXHAUSTED", http.StatusServiceUnavailable: "UNAVAILABLE",
}

// invalid is the answer to a value that cannot be.
func invalid(field, value, format string, args ...any) error {
	return &HTTPError{Status: http.StatusBadRequest, Reason: "invalid",
		Message: fmt.Sprintf("Invalid value for field '%s': '%s'. %s", field, value, fmt.Sprintf(format, args...))}
}

func badRequest(reason, format string, args ...any) error {
	return &HTTPError{Status: http.StatusBadRequest, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func required(field string) error {
	return badRequest("required", "Required field '%s' not specified", field)
}

func notFound(path string) error {
	return &HTTPError{Status: http.StatusNotFound, Reason: "notFound", Message: fmt.Sprintf("The resource '%s' was not found", path)}
}

func exists(path string) error {
	return &HTTPError{Status: http.StatusConflict, Reason: "alreadyExists", Message: fmt.Sprintf("The resource '%s' already exists", path)}
}

func notReady(path string) error {
	return badRequest("resourceNotReady", "The resource '%s' is not ready", path)
}

func inUse(what, path, by string) error {
	return badRequest("resourceInUseByAnotherResource", "The %s resource '%s' is already being used by '%s'", what, path, by)
}

func conditionNotMet(format string, args ...any) error {
	return &HTTPError{Status: http.StatusPreconditionFailed, Reason: "conditionNotMet", Message: fmt.Sprintf(format, args...)}
}

func forbidden(permission, path string) error {
	return &HTTPError{Status: http.StatusForbidden, Reason: "forbidden",
		Message: fmt.Sprintf("Required '%s' permission for '%s'", permission, path)}
}

func quotaExceeded(metric string, limit float64, where string) error {
	return &HTTPError{Status: http.StatusForbidden, Reason: "quotaExceeded", Domain: "usageLimits",
		Message: fmt.Sprintf("Quota '%s' exceeded.  Limit: %.1f%s.", metric, limit, where)}
}
