# A cluster on this machine: what `make run` applies and `make stop` destroys.

terraform {
  required_providers {
    holdfast = {
      source = "registry.terraform.io/holdfastdb/holdfast"
    }
  }
}

variable "backend" {
  description = "Where the raft logs are kept: wal or boltdb. Only a new cluster may have another one."
  type        = string
  default     = "wal"
}

variable "failover_mode" {
  description = "What a log does while its disk hangs: it writes to a side disk (side-disk), to a second store of its node (among-stores; a new cluster only, with two stores per node) or waits (disabled)."
  type        = string
  default     = "side-disk"
}

variable "node_names" {
  description = "Names of the nodes; an odd number of them is best."
  type        = list(string)
  default     = ["a", "b", "c"]

  validation {
    condition     = length(var.node_names) == length(distinct(var.node_names))
    error_message = "A name is there twice in node_names: every node needs a name of its own."
  }
}

variable "directory" {
  description = "Where the cluster lives; relative to this example unless it begins with /."
  type        = string
  default     = ".holdfast"
}

resource "holdfast_cluster" "local" {
  name  = "local"
  local = { directory = startswith(var.directory, "/") ? var.directory : abspath("${path.module}/${var.directory}") }
  nodes = { for name in var.node_names : name => {} }

  stores        = [for i in range(var.failover_mode == "among-stores" ? 2 : 1) : { disk = { size_gb = 10 }, filesystem = "ext4" }]
  side_disk     = { size_gb = 25 }
  raft_logstore = { backend = var.backend }
  wal_failover  = { mode = var.failover_mode }

  deletion_protection = false # it is an example: make stop shall just work
}

output "endpoints" {
  description = "HTTP API of each node by its name. An election changes nothing here."
  value       = holdfast_cluster.local.endpoints
}
