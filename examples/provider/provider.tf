terraform {
  required_providers {
    holdfast = {
      source = "registry.terraform.io/holdfastdb/holdfast"
    }
  }
}

provider "holdfast" {
  # The binary of agents and engines. Left out: HOLDFAST_BINARY, one beside the
  # provider, one on PATH.
  binary = "/usr/local/bin/holdfast"
}
