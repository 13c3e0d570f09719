// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// Two machines on one wire, with a data disk and a side disk each.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	image, err := vm.Build(ctx)
	if err != nil {
		log.Fatal(err)
	}
	var wire vm.Network
	for _, name := range []string{"a", "b"} {
		m, err := vm.Start(ctx, vm.Config{Image: image, Name: name, Network: &wire, Disks: []vm.Disk{
			{Kind: vm.NVMe, Serial: "data", Size: 10 * vm.GiB},
			{Kind: vm.SCSI, Serial: "side", Size: 25 * vm.GiB},
		}})
		if err != nil {
			log.Fatal(err)
		}
		defer func() { _ = m.Close() }()
		disks, err := m.SSH().Run(ctx, "lsblk")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.SSHAddr(), m.Addr(), disks)
	}
	wire.Cut("a", "b")
}
