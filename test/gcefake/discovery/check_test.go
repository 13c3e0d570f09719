// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package discovery

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func shared(t *testing.T) *Document {
	t.Helper()
	doc, err := Shared()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestMatch finds methods by the real document's paths.
func TestMatch(t *testing.T) {
	doc := shared(t)
	const zone = "/compute/v1/projects/p-1/zones/us-east4-a/"
	for _, tc := range []struct {
		method, path string
		id           string
		params       map[string]string
		violation    string // a part of the only one
	}{
		{"POST", zone + "disks", "compute.disks.insert", map[string]string{"project": "p-1", "zone": "us-east4-a"}, ""},
		{"GET", zone + "disks/data-1", "compute.disks.get", map[string]string{"project": "p-1", "zone": "us-east4-a", "disk": "data-1"}, ""},
		{"POST", zone + "instances/a/attachDisk", "compute.instances.attachDisk", map[string]string{"project": "p-1", "zone": "us-east4-a", "instance": "a"}, ""},
		{"GET", zone + "instances/a/serialPort", "compute.instances.getSerialPortOutput", map[string]string{"project": "p-1", "zone": "us-east4-a", "instance": "a"}, ""},
		{"GET", "/compute/v1/projects/debian-cloud/global/images/family/debian-12", "compute.images.getFromFamily", map[string]string{"project": "debian-cloud", "family": "debian-12"}, ""},
		{"GET", "/compute/v1/projects/p/aggregated/disks", "compute.disks.aggregatedList", map[string]string{"project": "p"}, ""},
		{"GET", "/compute/v1/projects/p/global/backendServices/listUsable", "compute.backendServices.listUsable", map[string]string{"project": "p"}, ""},

		{"GET", "/compute/beta/projects/p", "", nil, "path: \"/compute/beta/projects/p\" does not begin with /compute/v1/"},
		{"GET", zone + "volumes/data-1", "", nil, "no method GET projects/p-1/zones/us-east4-a/volumes/data-1"},
		{"PUT", zone + "disks/data-1", "", nil, "no method PUT"},
		{"GET", zone + "disks/", "", nil, "no method"},
		{"GET", zone + "disks/Data_1", "compute.disks.get", map[string]string{"project": "p-1", "zone": "us-east4-a", "disk": "Data_1"}, `path.disk: "Data_1" does not match`},
		{"GET", "/compute/v1/projects/p-1/zones/us%20east/disks/d", "compute.disks.get", map[string]string{"project": "p-1", "zone": "us east", "disk": "d"}, `path.zone: "us east" does not match`},
		{"GET", zone + "disks/data-1%0Ax", "compute.disks.get", map[string]string{"project": "p-1", "zone": "us-east4-a", "disk": "data-1\nx"}, "path.disk"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			got, violations := doc.Match(tc.method, tc.path)
			id := ""
			if got.Method != nil {
				id = got.Method.ID
			}
			if id != tc.id {
				t.Errorf("method %q, want %q", id, tc.id)
			}
			if diff := cmp.Diff(tc.params, got.Params); diff != "" {
				t.Errorf("parameters (-want +got):\n%s", diff)
			}
			only(t, violations, tc.violation)
		})
	}
}

// TestCheck proves that the check bites: each request is right but for one
// thing, and that one is found, alone, at its place.
func TestCheck(t *testing.T) {
	doc := shared(t)
	const id = "6a7ff1cc-1d3f-4b5a-9a55-111111111111"
	for _, tc := range []struct {
		name, method, query, body string
		violation                 string
	}{
		{"a disk", "disks.insert", "requestId=" + id, `{"name":"data-1","sizeGb":"100","type":"zones/z/diskTypes/pd-ssd","labels":{"holdfast-cluster":"orders"}}`, ""},
		{"nested", "instances.insert", "", `{"name":"a","disks":[{"boot":true,"initializeParams":{"diskSizeGb":"20"}}],"metadata":{"items":[{"key":"k","value":"v"}]},"scheduling":{"onHostMaintenance":"MIGRATE"}}`, ""},
		{"tags", "instances.setTags", "", `{"items":["holdfast"],"fingerprint":"42WmSpB8rSM="}`, ""},
		{"no body", "instances.stop", "discardLocalSsd=true", "", ""},
		{"common parameters", "disks.get", "alt=json&prettyPrint=false&$.xgafv=2", "", ""},
		{"repeated parameter", "disks.update", "paths=provisionedIops&paths=provisionedThroughput", `{"name":"d"}`, ""},

		{"unknown field", "disks.insert", "", `{"name":"d","size":"100"}`, "body.size: no such field"},
		{"snake case", "disks.insert", "", `{"name":"d","size_gb":"100"}`, "body.size_gb: no such field; the name is sizeGb"},
		{"unknown field deep within", "instances.insert", "", `{"name":"a","disks":[{},{"initializeParams":{"diskSizeGB":"20"}}]}`, "body.disks[1].initializeParams.diskSizeGB: no such field; the name is diskSizeGb"},
		{"wrong enum", "instances.insert", "", `{"name":"a","scheduling":{"onHostMaintenance":"STAY"}}`, `body.scheduling.onHostMaintenance: "STAY" is none of MIGRATE, TERMINATE`},
		{"enum in lower case", "firewalls.insert", "", `{"name":"f","direction":"ingress"}`, `body.direction: "ingress" is none of EGRESS, INGRESS`},
		{"int64 as a number", "disks.insert", "", `{"name":"d","sizeGb":100}`, "body.sizeGb: wants a string (int64), is a number"},
		{"int64 that is none", "disks.insert", "", `{"name":"d","sizeGb":"100GB"}`, `body.sizeGb: "100GB" is no int64`},
		{"int32 as a string", "firewalls.insert", "", `{"name":"f","priority":"900"}`, "body.priority: wants a number (int32), is a string"},
		{"int32 too large", "firewalls.insert", "", `{"name":"f","priority":4294967296}`, "body.priority: 4294967296 is no int32"},
		{"fraction", "firewalls.insert", "", `{"name":"f","priority":1.5}`, "body.priority: 1.5 is no int32"},
		{"boolean as a string", "instances.insert", "", `{"name":"a","deletionProtection":"true"}`, "body.deletionProtection: wants a boolean, is a string"},
		{"object for a list", "instances.insert", "", `{"name":"a","disks":{}}`, "body.disks: wants an array, is an object"},
		{"null", "disks.insert", "", `{"name":"d","type":null}`, "body.type: wants a string, is null"},
		{"label that is no text", "disks.insert", "", `{"name":"d","labels":{"n":1}}`, "body.labels.n: wants a string, is a number"},
		{"base64", "instances.setTags", "", `{"fingerprint":"?"}`, `body.fingerprint: "?" is not base64`},
		{"pattern of a list's element", "instances.setTags", "", `{"items":["ok","Not"]}`, `body.items[1]: "Not" does not match`},
		{"name", "disks.insert", "", `{"name":"Data"}`, `body.name: "Data" does not match`},
		{"name with something after it", "disks.insert", "", `{"name":"data\nx"}`, "body.name"},
		{"required field", "disks.insert", "", `{"sizeGb":"10"}`, "body.name: compute.disks.insert requires it"},
		{"required field deep within", "instances.insert", "", `{"name":"a","metadata":{"items":[{"key":"k"}]}}`, "body.metadata.items[0].value: compute.instances.insert requires it"},
		{"read-only field", "disks.insert", "", `{"name":"d","status":"READY"}`, "body.status: is set by the server alone"},
		{"read-only by its description", "firewalls.insert", "", `{"name":"f","selfLink":"x"}`, "body.selfLink: is set by the server alone"},
		{"body where none is", "instances.stop", "", `{}`, "body: compute.instances.stop takes no body"},
		{"no body where one is", "disks.insert", "", "", "body: compute.disks.insert takes a Disk, and the body is empty"},
		{"not JSON", "disks.insert", "", `{"name":`, "body: not JSON"},
		{"two values", "disks.insert", "", `{"name":"d"}{}`, "body: something follows the JSON value"},

		{"unknown parameter", "disks.insert", "request_id=" + id, `{"name":"d"}`, "query.request_id: no such parameter"},
		{"parameter of another method", "disks.get", "discardLocalSsd=true", "", "query.discardLocalSsd: no such parameter"},
		{"path parameter in the query", "disks.get", "zone=z", "", "query.zone: no such parameter"},
		{"missing parameter", "instances.detachDisk", "", "", "query.deviceName: compute.instances.detachDisk requires it"},
		{"parameter twice", "instances.detachDisk", "deviceName=a&deviceName=b", "", "query.deviceName: given 2 times"},
		{"boolean parameter", "instances.stop", "discardLocalSsd=yes", "", `query.discardLocalSsd: "yes" is neither true nor false`},
		{"number parameter", "disks.list", "maxResults=many", "", `query.maxResults: "many" is no uint32`},
		{"negative number", "disks.list", "maxResults=-1", "", `query.maxResults: "-1" is no uint32`},
		{"enum of a parameter", "instances.list", "view=ALL", "", `query.view: "ALL" is none of`},
		{"int64 of a parameter", "instances.getSerialPortOutput", "start=x", "", `query.start: "x" is no int64`},
		{"mask in snake case", "disks.update", "updateMask=provisioned_iops", `{"name":"d"}`, "query.updateMask"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := doc.Method("compute." + tc.method)
			if m == nil {
				t.Fatalf("no method %s", tc.method)
			}
			query, err := url.ParseQuery(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			only(t, doc.Check(m, query, []byte(tc.body)), tc.violation)
		})
	}
}

// TestCheckResponse holds answers to the document: fields of the server's are
// at home there, and nothing else is different.
func TestCheckResponse(t *testing.T) {
	doc := shared(t)
	m := doc.Method("compute.disks.get")
	only(t, doc.CheckResponse(m, []byte(`{"kind":"compute#disk","id":"1","status":"READY","sizeGb":"10"}`)), "")
	only(t, doc.CheckResponse(m, []byte(`{"status":"GONE"}`)), `body.status: "GONE" is none of`)
	only(t, doc.CheckResponse(m, []byte(`{"sizeGB":"10"}`)), "body.sizeGB: no such field")
}

func TestMethod(t *testing.T) {
	doc := shared(t)
	m := doc.Method("compute.instances.attachDisk")
	if m.Resource() != "instances" || m.Verb() != "attachDisk" || !m.Mutates() {
		t.Errorf("%s is %s of %s, mutates %v", m.ID, m.Verb(), m.Resource(), m.Mutates())
	}
	if doc.Method("compute.instances.getSerialPortOutput").Mutates() {
		t.Error("reading a serial port mutates")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{"not JSON": "{", "something else": `{"kind":"x"}`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// only fails unless there is one violation, which begins so; none for "".
func only(t *testing.T, got []Violation, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) == 0:
	case want != "" && len(got) == 1 && strings.Contains(got[0].String(), want):
	default:
		t.Errorf("violations %q, want %q alone", got, want)
	}
}
