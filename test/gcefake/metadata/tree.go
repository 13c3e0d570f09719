// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package metadata

import (
	"fmt"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// projectNumber is the number of the emulated project: links in metadata have it instead of the name.
const projectNumber = 123456789012

// treeOf is what an instance is told of itself and its project.
func treeOf(m emulator.Machine) map[string]any {
	number := fmt.Sprintf("projects/%d", projectNumber)
	attributes := map[string]any{}
	for k, v := range m.Metadata {
		attributes[k] = v
	}
	disks := []any{}
	for i, d := range m.Disks {
		kind, mode := "PERSISTENT", "READ_WRITE"
		if d.Scratch {
			kind = "LOCAL-SSD"
		}
		if d.ReadOnly {
			mode = "READ_ONLY"
		}
		disks = append(disks, map[string]any{"device-name": d.DeviceName, "index": i, "interface": d.Interface, "mode": mode, "type": kind})
	}
	interfaces := []any{}
	for i, n := range m.Interfaces {
		configs := []any{map[string]any{"external-ip": n.External, "type": "ONE_TO_ONE_NAT"}}
		interfaces = append(interfaces, map[string]any{
			"access-configs": configs, "dns-servers": []any{"169.254.169.254"}, "forwarded-ips": []any{}, "gateway": Gateway, "ip": n.Address, "ip-aliases": []any{},
			"mac": MAC(m.ID, i), "mtu": 1460, "network": number + "/networks/" + last(n.Network), "subnetmask": "255.0.0.0", "target-instance-ips": []any{},
		})
	}
	tags := []any{}
	for _, t := range m.Tags {
		tags = append(tags, t)
	}
	accounts := map[string]any{}
	if m.ServiceAccount != "" {
		scopes := []any{}
		for _, s := range m.Scopes {
			scopes = append(scopes, s)
		}
		account := map[string]any{"aliases": []any{"default"}, "email": m.ServiceAccount, "scopes": scopes}
		accounts["default"], accounts[m.ServiceAccount] = account, account
	}
	return map[string]any{
		"instance": map[string]any{
			"attributes": attributes, "cpu-platform": "Unknown", "description": "", "disks": disks,
			"hostname": fmt.Sprintf("%s.%s.c.%s.internal", m.Name, m.Zone, m.Project), "id": m.ID, "image": "", "licenses": []any{},
			"machine-type": number + "/machineTypes/" + m.MachineType, "maintenance-event": "NONE", "name": m.Name, "network-interfaces": interfaces, "preempted": "FALSE",
			"remaining-cpu-time": -1, "scheduling": map[string]any{"automatic-restart": "TRUE", "on-host-maintenance": "MIGRATE", "preemptible": "FALSE"},
			"service-accounts": accounts, "tags": tags, "virtual-clock": map[string]any{"drift-token": "0"}, "zone": number + "/zones/" + m.Zone,
		},
		"project": map[string]any{"attributes": map[string]any{}, "numeric-project-id": projectNumber, "project-id": m.Project},
	}
}

// Gateway is the way out of the network that machines are in.
const Gateway = "10.255.255.254"

// MAC is the address of an instance's network card.
func MAC(id uint64, card int) string {
	return fmt.Sprintf("42:01:%02x:%02x:%02x:%02x", byte(id>>16), byte(id>>8), byte(id), card)
}

func last(link string) string { return link[strings.LastIndexByte(link, '/')+1:] }
