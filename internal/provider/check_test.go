// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"fmt"

	tfjson "github.com/hashicorp/terraform-json"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

// address of the cluster in every configuration of these tests.
const address = "holdfast_cluster.c"

// config is a cluster of three nodes in the site, with what body adds to it.
func (s *site) config(body string) string {
	return fmt.Sprintf(`
resource "holdfast_cluster" "c" {
  name                = "acc"
  local               = { directory = %q }
  nodes               = { a = {}, b = {}, c = {} }
  deletion_protection = false
  %s
}
`, s.dir, body)
}

// differs checks that a plan shows the cluster as it is beside what it will be.
type differs struct {
	at       tfjsonpath.Path
	from, to any
}

// differ is what a plan shall name: the attribute of effective of a node, and both values.
func differ(node, attribute string, from, to any, deeper ...string) differs {
	at := tfjsonpath.New("effective").AtMapKey(node).AtMapKey(attribute)
	for _, name := range deeper {
		at = at.AtMapKey(name)
	}
	return differs{at: at, from: from, to: to}
}

func (d differs) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, rc := range req.Plan.ResourceChanges {
		if rc.Address != address {
			continue
		}
		if !rc.Change.Actions.Update() {
			resp.Error = fmt.Errorf("%s: %v is planned, not an update", address, rc.Change.Actions)
			return
		}
		resp.Error = d.compare(rc.Change)
		return
	}
	resp.Error = fmt.Errorf("the plan does not name %s", address)
}

// stands checks what the state has before a plan.
type stands struct {
	at   tfjsonpath.Path
	want any
}

func (s stands) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, rc := range req.Plan.ResourceChanges {
		if rc.Address != address {
			continue
		}
		got, err := tfjsonpath.Traverse(rc.Change.Before, s.at)
		if err == nil && fmt.Sprint(got) != fmt.Sprint(s.want) {
			err = fmt.Errorf("%s is %v in the state, not %v", s.at, got, s.want)
		}
		resp.Error = err
		return
	}
	resp.Error = fmt.Errorf("the plan does not name %s", address)
}

func (d differs) compare(c *tfjson.Change) error {
	from, err := tfjsonpath.Traverse(c.Before, d.at)
	if err != nil {
		return fmt.Errorf("before: %w", err)
	}
	to, err := tfjsonpath.Traverse(c.After, d.at)
	if err != nil {
		return fmt.Errorf("after: %w", err)
	}
	if fmt.Sprint(from) != fmt.Sprint(d.from) || fmt.Sprint(to) != fmt.Sprint(d.to) {
		return fmt.Errorf("%s: the plan says %v → %v, not %v → %v", d.at, from, to, d.from, d.to)
	}
	return nil
}

// before checks a step's plan; after it is applied the next one has to be empty.
func before(checks ...plancheck.PlanCheck) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: checks, PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
}
