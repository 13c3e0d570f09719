// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// effects are what -fault can do to a call.
var effects = map[string]emulator.Fault{
	"quota":           {HTTP: emulator.QuotaExceeded("CPUS", "us-east4", 8)},
	"disabled":        {HTTP: emulator.AccessNotConfigured("holdfast-test")},
	"forbidden":       {HTTP: emulator.Forbidden("compute.instances.create", "projects/holdfast-test")},
	"409":             {HTTP: emulator.AlreadyExists("projects/holdfast-test")},
	"412":             {HTTP: emulator.ConditionNotMet()},
	"429":             {HTTP: emulator.RateLimited()},
	"500":             {HTTP: emulator.BackendError(http.StatusInternalServerError)},
	"503":             {HTTP: emulator.BackendError(http.StatusServiceUnavailable)},
	"operation-quota": {Operation: emulator.OperationQuotaExceeded("CPUS", "us-east4", 8)},
	"exhausted":       {Operation: emulator.ZoneExhausted("holdfast-test", "us-east4-a", "e2-medium", []string{"us-east4-b"})},
	"lost":            {Lost: true},
	"reset":           {Reset: true},
}

func effectNames() []string { return slices.Sorted(maps.Keys(effects)) }

// parseFault reads METHOD:CALL:EFFECT. An empty METHOD is every method, and
// CALL 0 every call.
func parseFault(text string) (emulator.Fault, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return emulator.Fault{}, fmt.Errorf("%q is not METHOD:CALL:EFFECT", text)
	}
	f, ok := effects[parts[2]]
	if !ok {
		return emulator.Fault{}, fmt.Errorf("effect %q is none of %s", parts[2], strings.Join(effectNames(), ", "))
	}
	call, err := strconv.Atoi(parts[1])
	if err != nil || call < 0 {
		return emulator.Fault{}, fmt.Errorf("%q is no number of a call", parts[1])
	}
	f.Call = call
	if f.Method = parts[0]; f.Method != "" && !strings.HasPrefix(f.Method, "compute.") {
		f.Method = "compute." + f.Method
	}
	return f, nil
}
