// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"
)

// TestLists lists a zone page by page, all zones at once, and what a filter
// takes.
func TestLists(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	for i, name := range []string{"c", "a", "e", "b", "d"} {
		d := blankDisk(name)
		d.Labels = map[string]string{"holdfast-cluster": map[bool]string{true: "orders", false: "bills"}[i < 3]}
		if _, err := c.insertDisk(d); err != nil {
			t.Fatal(err)
		}
	}
	list := func(filter *string, size uint32) (names []string, err error) {
		it := c.disks.List(ctx, &computepb.ListDisksRequest{Project: project, Zone: zone, Filter: filter, MaxResults: &size})
		for {
			d, err := it.Next()
			if errors.Is(err, iterator.Done) {
				return names, nil
			}
			if err != nil {
				return nil, err
			}
			names = append(names, d.GetName())
		}
	}
	c.ForgetCalls()
	names, err := list(nil, 2)
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "e"}, names); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
	if calls := len(c.Calls()); calls != 3 {
		t.Errorf("five disks by pages of two are %d calls", calls)
	}
	for filter, want := range map[string][]string{
		`labels.holdfast-cluster = "orders"`:                        {"a", "c", "e"},
		`(labels.holdfast-cluster = orders) (name != a)`:            {"c", "e"},
		`labels.holdfast-cluster=orders AND NOT name=a`:             {"c", "e"},
		`name = a OR name = b labels.holdfast-cluster = bills`:      {"b"},
		`labels.holdfast-cluster:*`:                                 {"a", "b", "c", "d", "e"},
		`labels.other:*`:                                            nil,
		`sizeGb > 19`:                                               {"a", "b", "c", "d", "e"},
		`sizeGb >= 100`:                                             nil,
		`name eq [a-c]`:                                             {"a", "b", "c"},
		`type = "` + c.disk("a").GetType() + `" name < "c"`:         {"a", "b"},
		`zone:us-east4-a AND (name = d OR (name = e AND sizeGb=1))`: {"d"},
	} {
		if names, err := list(&filter, 500); err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: %v, %v; want %v", filter, names, err, want)
		}
	}
	for _, filter := range []string{"name", "name =", "(name = a", "name ~ a", "name = a)", `name = "a`, "= a"} {
		_, err := list(&filter, 500)
		refused(t, err, 400, "invalid", "Invalid list filter expression")
	}

	it := c.disks.AggregatedList(ctx, &computepb.AggregatedListDisksRequest{Project: project, Filter: new(`labels.holdfast-cluster = "orders"`)})
	found := map[string]int{}
	for {
		pair, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[pair.Key] = len(pair.Value.GetDisks())
		if empty := pair.Value.GetWarning().GetCode() == "NO_RESULTS_ON_PAGE"; empty != (len(pair.Value.GetDisks()) == 0) {
			t.Errorf("%s: %v", pair.Key, pair.Value)
		}
	}
	if found["zones/"+zone] != 3 || len(found) != 9 {
		t.Errorf("by scope: %v, want six zones and three regions", found)
	}
}

// TestEveryRead calls every method that reads, of what exists. The server
// itself holds the answers to the document.
func TestEveryRead(t *testing.T) {
	c := newCloud(t, Config{})
	i := smallMachine("a")
	i.Metadata = &computepb.Metadata{Items: []*computepb.Items{{Key: new("enable-guest-attributes"), Value: new("TRUE")}}}
	op, err := c.insert(i)
	if err != nil {
		t.Fatal(err)
	}
	c.Guest(zone, "a").SetAttribute("hostkeys", "ssh-rsa", "AAAA")
	ctx := t.Context()
	firewall := c.must(c.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: project, FirewallResource: &computepb.Firewall{
		Name: new("f"), Allowed: []*computepb.Allowed{{IPProtocol: new("tcp")}}}}))
	subnet := c.must(c.subnets.Insert(ctx, &computepb.InsertSubnetworkRequest{Project: project, Region: "us-east4", SubnetworkResource: &computepb.Subnetwork{
		Name: new("s"), Network: new("global/networks/default"), IpCidrRange: new("10.0.0.0/24")}}))
	params := map[string]string{
		"project": project, "zone": zone, "region": "us-east4", "machineType": "c3-standard-4-lssd", "diskType": "local-ssd",
		"network": "default", "subnetwork": "default", "firewall": "f", "disk": "a", "instance": "a", "image": "debian-12-bookworm-v20260210", "family": "debian-12",
	}
	read := 0
	for id := range handlers {
		m := c.config.Document.Method(id)
		if m == nil {
			t.Errorf("%s is emulated and not in the document", id)
			continue
		}
		if m.HTTPMethod != http.MethodGet {
			continue
		}
		read++
		switch {
		case m.Resource() == "images":
			params["project"] = "debian-cloud"
		default:
			params["project"] = project
		}
		params["operation"] = map[string]string{"zoneOperations": op.GetName(), "regionOperations": subnet.GetName(), "globalOperations": firewall.GetName()}[m.Resource()]
		path := m.Path
		for name, value := range params {
			path = strings.ReplaceAll(path, "{"+name+"}", value)
		}
		if m.Verb() == "getGuestAttributes" {
			path += "?variableKey=hostkeys/ssh-rsa"
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/compute/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || len(body) < 50 {
			t.Errorf("%s %s: %s %s", id, path, resp.Status, body)
		}
	}
	if read < 20 {
		t.Errorf("%d methods read", read)
	}
}
