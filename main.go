// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Terraform provider holdfastdb/holdfast: builds replicated key-value clusters
// and keeps them what the configuration says.
package main

import (
	"context"
	"flag"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/provider"
)

// version is set by the linker.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "serve until interrupted, for a debugger: prints TF_REATTACH_PROVIDERS")
	flag.Parse()
	err := providerserver.Serve(context.Background(), provider.New(version), providerserver.ServeOpts{
		Address: "registry.terraform.io/holdfastdb/holdfast",
		Debug:   *debug,
	})
	if err != nil {
		log.Fatal(err)
	}
}
