# A cluster on machines that are there: one node per machine, reached over SSH.

terraform {
  required_providers {
    holdfast = {
      source = "registry.terraform.io/holdfastdb/holdfast"
    }
  }
}

variable "nodes" {
  description = "The machines by the name of their node; an odd number of them is best. cluster_address is the IP address for the other nodes, where that is not address. data_serial and side_serial are the serial numbers of the disks; left out, it is the only blank disk that is large enough and that the other does not name."
  type = map(object({
    address         = string
    cluster_address = optional(string)
    port            = optional(number)
    host_keys       = optional(list(string))
    data_serial     = optional(string)
    side_serial     = optional(string)
  }))

  validation {
    condition     = length(var.nodes) > 0
    error_message = "nodes names no machine."
  }
}

variable "name" {
  description = "Name of the cluster."
  type        = string
  default     = "orders"
}

variable "user" {
  description = "User to log in as: root, or one that may use sudo without a password."
  type        = string
  default     = "root"
}

variable "private_key_file" {
  description = "File of the private key. Left out: HOLDFAST_SSH_PRIVATE_KEY, then the ssh-agent."
  type        = string
  default     = null
}

variable "known_hosts_file" {
  description = "Host keys of machines that have none in nodes. Left out: ~/.ssh/known_hosts."
  type        = string
  default     = null
}

variable "data_gb" {
  description = "Least size of the data disks in GiB."
  type        = number
  default     = 10
}

variable "deletion_protection" {
  description = "Whether a destroy is an error. A destroy wipes the cluster's disks."
  type        = bool
  default     = true
}

provider "holdfast" {
  ssh = {
    private_key_file = var.private_key_file
    known_hosts_file = var.known_hosts_file
  }
}

resource "holdfast_cluster" "this" {
  name = var.name
  ssh  = { user = var.user }

  nodes = {
    for name, n in var.nodes : name => {
      address         = n.address
      cluster_address = n.cluster_address
      port            = n.port
      host_keys       = n.host_keys
      stores          = n.data_serial == null ? null : [{ match = { serial = n.data_serial } }]
      side_disk       = n.side_serial == null ? null : { match = { serial = n.side_serial } }
    }
  }

  stores       = [{ disk = { size_gb = var.data_gb }, filesystem = "ext4" }]
  side_disk    = { size_gb = 25 }
  wal_failover = { mode = "side-disk" }

  # Not needed: an example of what is done on every machine before disks and engine.
  provision = [{
    name = "motd"
    file = { path = "/etc/motd", content = "A node of the Holdfast cluster ${var.name}.\n" }
  }]

  deletion_protection = var.deletion_protection
}

output "endpoints" {
  description = "HTTPS API of each node by its name. It asks clients for a certificate of the cluster."
  value       = holdfast_cluster.this.endpoints
}

output "location" {
  description = "Where the cluster is: for data sources, keys and terraform import."
  value       = holdfast_cluster.this.location
}
