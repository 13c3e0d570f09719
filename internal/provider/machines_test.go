// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/provider"
)

const pinned = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"

// overSSH is a cluster of three machines, with what body adds to it.
func overSSH(body string) string {
	return fmt.Sprintf(`
resource "holdfast_cluster" "c" {
  name = "acc"
  ssh  = { user = "ops" }
  nodes = {
    a = { address = "10.0.0.1", host_keys = [%q] }
    b = { address = "b.example.com", cluster_address = "10.0.0.2", port = 2222, stores = [{ match = { serial = "S2" } }] }
    c = { address = "10.0.0.3" }
  }
  stores              = [{ disk = { size_gb = 10, match = { serial = "S1" } } }]
  deletion_protection = false
  %s
}
`, pinned, body)
}

func newMachines(t *testing.T) *farm {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set: `make testacc` runs this")
	}
	return newFarm(t)
}

// TestAccMachines makes a cluster on machines, uses it by its location, changes what may
// be changed, and imports it.
func TestAccMachines(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	const where = "ssh:a=ops@10.0.0.1#" + pinned + ",b=ops@b.example.com:2222/10.0.0.2,c=ops@10.0.0.3"
	const uses = `
resource "holdfast_kv" "k" {
  location   = holdfast_cluster.c.location
  cluster_id = holdfast_cluster.c.id
  key        = "k"
  value      = "v"
}
data "holdfast_cluster_status" "s" {
  location   = holdfast_cluster.c.location
  cluster_id = holdfast_cluster.c.id
}
data "holdfast_stores" "s" {
  location   = holdfast_cluster.c.location
  cluster_id = holdfast_cluster.c.id
}
output "leader" { value = data.holdfast_cluster_status.s.leader }
`
	moved := strings.Replace(where, "10.0.0.3", "c.example.com/10.0.0.3", 1)
	changed := strings.Replace(overSSH(`tls = { hosts = ["kv.example.com"], certificate_rotation = "2", ca_rotation = "2026" }
  side_disk = { size_gb = 30 }`), `address = "10.0.0.3"`, `address = "c.example.com", cluster_address = "10.0.0.3"`, 1)
	s1 := `stores = [{ match = { serial = "S1" } }]`
	own := strings.NewReplacer(`host_keys = [`, s1+`, host_keys = [`, `cluster_address = "10.0.0.3"`, `cluster_address = "10.0.0.3", `+s1,
		`size_gb = 10, match = { serial = "S1" }`, `size_gb = 10`).Replace(changed)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config: overSSH("") + uses,
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("location"), knownvalue.StringExact(where)),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("endpoints").AtMapKey("b"), knownvalue.StringExact("https://10.0.0.2:8501")),
				statecheck.ExpectKnownValue("data.holdfast_stores.s", tfjsonpath.New("stores").AtSliceIndex(1).AtMapKey("node"), knownvalue.StringExact("b")),
				statecheck.ExpectKnownOutputValue("leader", knownvalue.StringExact("a")),
				statecheck.ExpectKnownValue("data.holdfast_cluster_status.s", tfjsonpath.New("nodes").AtMapKey("c").AtMapKey("certificate_expires"), knownvalue.StringExact("2030-01-02T03:04:05Z")),
			},
			ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}},
			Check: func(*terraform.State) error {
				f.with("b", func(m *machine) {
					if s := m.spec; s.BindAddress != "10.0.0.2" || s.Ports.HTTPS != 8501 || s.TLS == nil || s.Stores[0].Disk.Match.Serial != "S2" || s.SideDisk.Disk.MinSizeBytes != 25<<30 {
						t.Errorf("the spec of b: %+v", s)
					}
					if !m.pki.CAKey || m.pki.Certificate == nil {
						t.Errorf("the certificates of b: %+v", m.pki)
					}
				})
				f.with("a", func(m *machine) {
					if s := m.spec; s.Stores[0].Disk.Match.Serial != "S1" {
						t.Errorf("the disk of a: %+v", s.Stores[0].Disk)
					}
				})
				return nil
			},
		}, {
			// The least sizes and the certificates change in place, and so does an address: the
			// machine is the same one.
			Config:           changed + uses,
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("location"), knownvalue.StringExact(moved)),
				statecheck.ExpectKnownValue("holdfast_kv.k", tfjsonpath.New("location"), knownvalue.StringExact(moved)),
			},
			Check: func(*terraform.State) error {
				for _, name := range f.names() {
					f.with(name, func(m *machine) {
						if len(m.pki.CAs) != 1 || m.pki.CAs[0].Fingerprint != "ca2" || m.pki.Certificate.Issuer != "ca2" || m.pki.Rotation != "2" {
							t.Errorf("the certificates of %s: %+v", name, m.pki)
						}
						if m.spec.SideDisk.Disk.MinSizeBytes != 30<<30 || m.spec.TLS.Hosts[0] != "kv.example.com" {
							t.Errorf("the spec of %s: %+v", name, m.spec)
						}
					})
				}
				return nil
			},
		}, {
			// What a node says of its disk is what all say: nothing changes.
			Config:           own + uses,
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
		}, {
			ResourceName:            address,
			ImportState:             true,
			ImportStateId:           moved,
			ImportStateVerify:       true,
			ImportStateVerifyIgnore: []string{"deletion_protection"},
		}, {
			Config: strings.Replace(own, "deletion_protection = false", "", 1) + uses,
		}, {
			ResourceName:    address,
			ImportState:     true,
			ImportStateKind: resource.ImportBlockWithID, // fails where its plan is not empty
			ImportStateId:   moved,
		}, {
			ResourceName:  address,
			ImportState:   true,
			ImportStateId: "ssh:a=10.0.0.1",
			ExpectError:   says(`it names no user: write`),
		}, {
			Config:      strings.Replace(own, `cluster_address = "10.0.0.3"`, `cluster_address = "10.0.0.4"`, 1),
			ExpectError: says(`nodes.c.cluster_address: "10.0.0.3" → "10.0.0.4"`, `set cluster_address = "10.0.0.3"`),
		}, {
			Config: strings.Replace(own, `size_gb = 30 }`, `size_gb = 30 }
  ports = { https = 9501 }`, 1),
			ExpectError: says(`ports.https: "8501" → "9501"`),
		}, {
			Config: `
resource "holdfast_cluster" "c" {
  name  = "acc"
  local = { directory = "/srv/orders" }
  nodes = { a = {}, b = {}, c = {} }
}
`,
			ExpectError: says(`local.directory: "" → "/srv/orders"`),
		}, {
			Config: own + uses,
		}},
	})
}

// TestAccDrifted: what an agent would do on its machine is in the plan, and an apply has
// it done; what stands in the way is a warning.
func TestAccDrifted(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	grow := agentapi.Operation{Part: agentapi.PartDisks, Field: "stores.0", Text: "grow the ext4 of /dev/nvme1n1 from 10G to 12G"}
	var anew *machine
	unit := agentapi.Operation{Part: agentapi.PartServices, Text: "write holdfast-engine.service"}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config: overSSH(""),
		}, {
			PreConfig: func() {
				f.with("b", func(m *machine) { m.pending = []agentapi.Operation{grow} })
				f.with("c", func(m *machine) { m.pending = []agentapi.Operation{unit} })
			},
			Config: overSSH(""),
			ConfigPlanChecks: before(
				differ("b", "pending", []any{grow.String()}, []any{}),
				differ("c", "pending", []any{unit.String()}, []any{}),
				plancheck.ExpectUnknownValue(address, tfjsonpath.New("effective").AtMapKey("b").AtMapKey("stores").AtSliceIndex(0).AtMapKey("size_bytes")),
				differ("c", "stores", []any{map[string]any{"path": "/srv/holdfast/data1/store", "device": "/dev/nvme1n1", "size_bytes": 10 << 30}},
					[]any{map[string]any{"path": "/srv/holdfast/data1/store", "device": "/dev/nvme1n1", "size_bytes": 10 << 30}}),
			),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("effective").AtMapKey("b").AtMapKey("stores").AtSliceIndex(0).AtMapKey("size_bytes"), knownvalue.Int64Exact(12<<30)),
			},
		}, {
			// A node that cannot tell keeps the last, and is planned to answer.
			PreConfig:          func() { f.with("b", func(m *machine) { m.silent = true }) },
			Config:             overSSH(""),
			PlanOnly:           true,
			ConfigPlanChecks:   resource.ConfigPlanChecks{},
			ExpectNonEmptyPlan: true,
		}, {
			PreConfig: func() { f.with("b", func(m *machine) { m.silent = false }) },
			Config:    overSSH(""),
			PlanOnly:  true,
		}, {
			// A machine that was set up anew never becomes the node that held data.
			PreConfig: func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				anew = f.machines["c"]
				delete(f.machines, "c")
			},
			Config:      overSSH(""),
			ExpectError: says(`A machine is not the node that it is named for`, `node c: nothing at 10.0.0.3 belongs to this cluster`),
		}, {
			PreConfig: func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.machines["c"] = anew
			},
			Config:   overSSH(""),
			PlanOnly: true,
		}},
	})
}

// TestAccMachinesFail: an apply that fails leaves a state of what is, of which the next plan is
// what is still to be done.
func TestAccMachinesFail(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	fail := func(err error) func() {
		return func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ensures = err
		}
	}
	larger := `side_disk = { size_gb = 40 }`
	of := func(attribute string) tfjsonpath.Path {
		return tfjsonpath.New("effective").AtMapKey("c").AtMapKey(attribute)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config: overSSH(""),
		}, {
			PreConfig: func() {
				fail(errors.New("the connection broke"))()
				f.with("c", func(m *machine) { m.silent = true })
			},
			Config:      overSSH(larger),
			ExpectError: says(`The cluster could not be made what was planned`, `the connection broke`),
		}, {
			// What was planned for a node that nobody saw since is no observation.
			Config:      overSSH(larger),
			ExpectError: says(`The cluster could not be made what was planned`, `the connection broke`),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				stands{of("agent_version"), "test"}, stands{of("agent"), "unreachable"},
				differs{tfjsonpath.New("side_disk").AtMapKey("size_gb"), 25, 40},
			}},
		}, {
			PreConfig: func() {
				fail(nil)()
				f.with("c", func(m *machine) { m.silent = false })
			},
			Config:           overSSH(larger),
			ConfigPlanChecks: before(differs{tfjsonpath.New("side_disk").AtMapKey("size_gb"), 25, 40}),
			Check: func(*terraform.State) (err error) {
				f.with("c", func(m *machine) {
					if got := m.spec.SideDisk.Disk.MinSizeBytes; got != 40<<30 {
						err = fmt.Errorf("asked for was %d", got)
					}
				})
				return err
			},
		}, {
			// A machine that starts says nothing at the plan; what it is then is looked at when it is taken.
			PreConfig:   func() { f.with("c", func(m *machine) { m.blank, m.silent = true, true }) },
			Config:      overSSH(""),
			ExpectError: says(`node c: nothing there belongs to this cluster`),
		}, {
			PreConfig: func() { f.with("c", func(m *machine) { m.blank, m.silent = false, false }) },
			Config:    overSSH(larger),
		}, {
			// A machine of somebody else is refused by the plan.
			Config:      strings.Replace(overSSH(larger), `address = "10.0.0.3"`, `address = "elsewhere", cluster_address = "10.0.0.3"`, 1),
			PlanOnly:    true,
			ExpectError: says(`The machines cannot be those of the cluster`, `the machines belong to different clusters`),
		}, {
			// One that is half destroyed can be planned: Terraform plans before it destroys.
			PreConfig: func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.dying = true
			},
			Config:   overSSH(larger),
			PlanOnly: true,
		}},
	})
}

// TestAccCreateFallsShort: a cluster whose making ends before its settings are set is kept, is not
// tainted, and gets them from the next apply. With what was observed of them in the state, Terraform
// takes the provider for broken and destroys the cluster.
func TestAccCreateFallsShort(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	take := func(no bool) func() {
		return func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.unset = no
		}
	}
	set := `settings = { "storage.max_sync_duration" = "30s" }`
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			PreConfig:          take(true),
			Config:             overSSH(set),
			ExpectNonEmptyPlan: true,
		}, {
			PreConfig: take(false),
			Config:    overSSH(set),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("holdfast_cluster.c", plancheck.ResourceActionUpdate),
			}},
		}},
	})
}

// TestAccShortIsAnError: with the precondition that the documents show, an apply that falls short ends with
// an error, keeps the cluster, and the next one goes on.
func TestAccShortIsAnError(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	ends := func(err error) func() {
		return func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ensures = err
		}
	}
	config := overSSH("") + `
output "ready" {
  value = holdfast_cluster.c.ready_nodes
  precondition {
    condition     = length(holdfast_cluster.c.ready_nodes) == length(holdfast_cluster.c.nodes)
    error_message = "Not every node is ready; apply again."
  }
}`
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			PreConfig:   ends(errors.New("the disk of c is not blank")),
			Config:      config,
			ExpectError: says(`Not every node is ready; apply again`),
		}, {
			PreConfig: ends(nil),
			Config:    config,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("holdfast_cluster.c", plancheck.ResourceActionUpdate),
			}},
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("ready", knownvalue.ListSizeExact(3))},
		}},
	})
}

// TestAccAdopt: a cluster whose state was lost is taken over by the configuration that means it, and by
// no other, also where its agents tell what it is only once they were started.
func TestAccAdopt(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	of := agentapi.Cluster{Name: "acc", ID: "11111111-2222-4333-8444-555555555555"}
	p := &overFarm{farm: f, machines: map[string]env.Machine{"a": {Address: "10.0.0.1"}, "b": {Address: "10.0.0.2"}, "c": {Address: "10.0.0.3"}}}
	disk := platform.Disk{SizeBytes: 10 << 30, FileSystem: "ext4"}
	asked := platform.Cluster{Name: of.Name, ID: of.ID, Stores: []platform.Disk{disk}, SideDisk: platform.Disk{SizeBytes: 25 << 30, FileSystem: "ext4"}}
	var servers []agentapi.Server
	for _, name := range []string{"a", "b", "c"} {
		asked.Nodes = append(asked.Nodes, platform.Node{Name: name, Stores: make([]platform.Device, 1)})
		servers = append(servers, agentapi.Server{Name: name, Address: p.machines[name].Address + ":8300", Voter: name != "c"})
	}
	there, err := p.Ensure(t.Context(), asked, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range there {
		f.machines[name].spec = (&agentapi.Spec{Cluster: of, Node: name, BindAddress: m.Address, Servers: servers, TLS: &agentapi.TLS{},
			Stores:   []agentapi.StoreSpec{{Path: m.Stores[0].Path, Disk: m.Stores[0].Disk}},
			SideDisk: &agentapi.SideDisk{Path: m.SideDisk.Path, Disk: m.SideDisk.Disk}}).WithDefaults()
		f.machines[name].silent = true
	}
	refused := says(`This cannot be changed on an existing cluster`, `nodes.c.voter: "false" → "true"`)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config:      overSSH(""),
			ExpectError: refused,
		}, {
			Config:      overSSH(""),
			PlanOnly:    true,
			ExpectError: refused,
		}, {
			Config: strings.Replace(overSSH(""), `address = "10.0.0.3"`, `address = "10.0.0.3", voter = false`, 1),
			ConfigPlanChecks: resource.ConfigPlanChecks{
				PreApply:             []plancheck.PlanCheck{plancheck.ExpectResourceAction(address, plancheck.ResourceActionCreate)},
				PostApplyPostRefresh: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()},
			},
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(address, tfjsonpath.New("id"), knownvalue.StringExact(of.ID))},
		}},
	})
}

// TestAccSecrets: secrets of steps and keys of the provider reach agents and platform,
// and are in no plan and no state, not in the saved files either.
func TestAccSecrets(t *testing.T) {
	f := newMachines(t)
	const token, pem = "t0ken-of-nobody", "-----BEGIN KEY----- nobody -----END KEY-----"
	files := t.TempDir()
	t.Setenv("TF_ACC_TEMP_DIR", files)
	t.Setenv("TF_VAR_token", token)
	t.Setenv("TF_VAR_pem", pem)
	config := func(more string) string {
		return `
variable "token" {
  type      = string
  ephemeral = true
}
variable "pem" {
  type      = string
  ephemeral = true
}
provider "holdfast" {
  ssh = { private_key = var.pem, boot_timeout = "5m", jump = [{ user = "jump", address = "10.9.9.9", host_keys = ["` + pinned + `"] }] }
}
` + overSSH(`provision = [{ name = "enrol", shell = { inline = ["enrol"], secret_env = { TOKEN = "token" } } }]
  provision_secrets = { token = var.token }
  `+more)
	}
	hidden := func(secret string) error {
		if seenIn(files, "enrol") == nil {
			return errors.New("the step is in no state and no plan: the wrong files are looked at")
		}
		return seenIn(files, secret)
	}
	told := func(puts int) resource.TestCheckFunc {
		return func(*terraform.State) error {
			for _, name := range f.names() {
				f.with(name, func(m *machine) {
					if m.secrets["token"] != token || m.puts != puts {
						t.Errorf("node %s was told %v in %d specs", name, m.secrets, m.puts)
					}
				})
			}
			if f.access.BootTimeout.Minutes() != 5 || string(f.access.Key.PEM) != pem || len(f.access.Jump) != 1 || string(f.access.Jump[0].Key.PEM) != pem {
				t.Errorf("the platform was given %+v", f.access)
			}
			return errors.Join(hidden(token), hidden("-----BEGIN KEY-----"))
		}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config:           config(""),
			ConfigPlanChecks: before(notInPlan{token}, notInPlan{pem}),
			Check:            told(1),
		}, {
			Config:           config(`provision_secrets_version = 2`),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate), notInPlan{token}),
			Check: resource.ComposeAggregateTestCheckFunc(told(2), func(*terraform.State) error {
				f.with("b", func(m *machine) {
					if m.dry == 0 {
						t.Error("the plan did not ask what b would do with other secrets")
					}
				})
				return nil
			}),
		}, {
			// An apply that did not get there is gone on with, although nothing that is
			// observed tells that it has to be.
			PreConfig: func() {
				f.with("c", func(m *machine) { m.refuses = &agentapi.Error{What: "not today"} })
			},
			Config:      strings.Replace(config(`provision_secrets_version = 3`), `address = "10.0.0.3"`, `address = "c.example.com", cluster_address = "10.0.0.3"`, 1),
			ExpectError: says(`node c: not today`),
		}, {
			// Nor is it remembered that the machine would have another address.
			RefreshState:       true,
			ExpectNonEmptyPlan: true,
			Check: func(s *terraform.State) error {
				if l := s.RootModule().Resources[address].Primary.Attributes["location"]; strings.Contains(l, "c.example.com") {
					return fmt.Errorf("the location is %s", l)
				}
				return nil
			},
		}, {
			PreConfig: func() {
				f.with("c", func(m *machine) { m.refuses, m.puts = nil, m.puts+1 })
			},
			Config:           config(`provision_secrets_version = 3`),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
			Check:            told(4),
		}},
	})
}

// notInPlan checks what terraform show -json says of a saved plan.
type notInPlan struct{ secret string }

func (n notInPlan) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	b, err := json.Marshal(req.Plan)
	if err == nil && bytes.Contains(b, []byte(n.secret)) {
		err = errors.New("the plan has a secret")
	}
	resp.Error = err
}

// seenIn looks for a text in states and saved plans below a directory.
func seenIn(dir, text string) error {
	look := func(name string, b []byte) error {
		if bytes.Contains(b, []byte(text)) {
			return fmt.Errorf("%s has %q", name, text)
		}
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(d.Name(), "tfstate") && !strings.Contains(d.Name(), "tfplan") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		packed, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return look(path, b)
		}
		for _, file := range packed.File {
			r, err := file.Open()
			if err != nil {
				return err
			}
			b, err := io.ReadAll(r)
			if err = errors.Join(err, r.Close()); err != nil {
				return err
			}
			if err := look(path+"/"+file.Name, b); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestAccMachinesInTheWay: a plan of a new cluster says what is certain as an error, and
// what cannot be told as a warning.
func TestAccMachinesInTheWay(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	node := func(name string, err error) error { return fmt.Errorf("node %s: %w", name, err) }
	fail := func(errs ...error) func() {
		return func() {
			f.preflight = &platform.Error{What: "machines need mending", Err: errors.Join(errs...), Next: "Mend each of them and try again."}
		}
	}
	unreachable := &platform.Error{What: "10.0.0.3 is not reached", Err: sshhost.ErrUnreachable, Next: "Start it."}
	wrongKey := &platform.Error{What: "10.0.0.1 is not trusted", Err: &sshhost.HostKeyError{Address: "10.0.0.1:22", Got: "ssh-ed25519 SHA256:other", Want: []string{pinned}, Source: "the configuration"}, Next: "Compare them."}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			PreConfig:   fail(node("a", wrongKey), node("c", unreachable)),
			Config:      overSSH(""),
			PlanOnly:    true,
			ExpectError: says(`The cluster cannot be made here`, `node a:`, `the host key is not the expected one`),
		}, {
			PreConfig:          fail(node("c", unreachable)),
			Config:             overSSH(""),
			PlanOnly:           true,
			ExpectNonEmptyPlan: true,
		}, {
			Config:      overSSH(""),
			ExpectError: says(`The cluster cannot be made here`, `node c:`, `no SSH server answers`),
		}, {
			PreConfig:   func() { f.preflight = nil },
			Config:      overSSH(`binary = "/nowhere/holdfast"`),
			PlanOnly:    true,
			ExpectError: says(`The holdfast binary is not usable`),
		}, {
			PreConfig:   func() { f.cluster = agentapi.Cluster{Name: "carts", ID: "11111111-2222-4333-8444-555555555555"} },
			Config:      overSSH(""),
			PlanOnly:    true,
			ExpectError: says(`The place belongs to another cluster`, `holds the cluster "carts"`),
		}},
	})
}

// TestAccExampleSSH applies examples/ssh.
func TestAccExampleSSH(t *testing.T) {
	f := newMachines(t)
	b, err := os.ReadFile("../../examples/ssh/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(b), "\n}\n") // the block terraform names a registry
	if !ok {
		t.Fatal("the example begins otherwise")
	}
	t.Setenv("TF_VAR_nodes", `{ a = { address = "10.0.0.1", data_serial = "S1", side_serial = "S2" }, b = { address = "b.example.com", cluster_address = "10.0.0.2" }, c = { address = "10.0.0.3" } }`)
	t.Setenv("TF_VAR_deletion_protection", "false")
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config:           example,
			ConfigPlanChecks: before(),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownOutputValue("location", knownvalue.StringExact("ssh:a=root@10.0.0.1,b=root@b.example.com/10.0.0.2,c=root@10.0.0.3")),
				statecheck.ExpectKnownOutputValue("endpoints", knownvalue.MapExact(map[string]knownvalue.Check{
					"a": knownvalue.StringExact("https://10.0.0.1:8501"), "b": knownvalue.StringExact("https://10.0.0.2:8501"), "c": knownvalue.StringExact("https://10.0.0.3:8501")})),
			},
			Check: func(*terraform.State) error {
				f.with("a", func(m *machine) {
					if m.spec.Stores[0].Disk.Match.Serial != "S1" || m.spec.SideDisk.Disk.Match.Serial != "S2" || m.spec.WALFailover.Mode != agentapi.SideDiskMode {
						t.Errorf("the spec of a: %+v", m.spec)
					}
				})
				return nil
			},
		}},
	})
}

// TestAccKeyOfTheSameApply: the key is made by the apply that makes the cluster, so that a
// plan can reach no machine. It says nothing of them, and once there is a state, that.
func TestAccKeyOfTheSameApply(t *testing.T) {
	t.Parallel()
	f := newMachines(t)
	config := func(key string) string {
		return fmt.Sprintf(`
resource "terraform_data" "key" { input = %q }
provider "holdfast" {
  ssh = { private_key = terraform_data.key.output }
}
`, key) + overSSH("")
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: f.providers(),
		Steps: []resource.TestStep{{
			Config: config("one"),
			Check: func(*terraform.State) error {
				if key := string(f.access.Key.PEM); key != "one" {
					return fmt.Errorf("the key is %q", key)
				}
				return nil
			},
		}, {
			PreConfig:        func() { f.preflight = errors.New("no plan of a cluster that is there asks for it") },
			Config:           config("two"), // unknown in the plan: the state is kept
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(address, plancheck.ResourceActionNoop)}},
		}},
	})
}

// TestAccPlanOverSSH plans a cluster on machines that are this one, behind a real sshd:
// what it says is told apart, and nothing is changed.
func TestAccPlanOverSSH(t *testing.T) {
	newMachines(t)
	sshdtest.Setup()
	s := sshdtest.Start(t, sshdtest.Options{})
	key := s.Write(t, "key", string(s.Key.PEM))
	config := func(port int, pin string) string {
		return fmt.Sprintf(`
provider "holdfast" {
  ssh = { private_key_file = %q, boot_timeout = "1s" }
}
resource "holdfast_cluster" "c" {
  name = "acc"
  ssh  = { user = %q, port = %d }
  nodes = {
    a = { address = "127.0.0.1", cluster_address = "192.0.2.1", host_keys = [%q] } # no machine has that address
  }
}
`, key, s.User, port, pin)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := nobody.Addr().(*net.TCPAddr).Port
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){"holdfast": providerserver.NewProtocol6WithError(provider.New("test")())},
		Steps: []resource.TestStep{{
			Config:      config(s.Port, pinned),
			PlanOnly:    true,
			ExpectError: says(`The cluster cannot be made here`, s.HostKeys[0].Fingerprint(), pinned),
		}, {
			Config:      config(s.Port, s.HostKeys[0].Fingerprint()),
			PlanOnly:    true,
			ExpectError: says(`The cluster cannot be made here`, `node a:`),
		}, {
			Config:             config(silent, pinned),
			PlanOnly:           true,
			ExpectNonEmptyPlan: true, // and a warning
		}},
	})
}
