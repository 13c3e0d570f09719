# A cluster on Compute Engine: one node in each of three regions, as far apart as an outage is large.

terraform {
  required_providers {
    holdfast = {
      source = "registry.terraform.io/holdfastdb/holdfast"
    }
  }
}

variable "project" {
  description = "Project that machines and disks are made in."
  type        = string
}

variable "name" {
  description = "Name of the cluster. In the project no other has it."
  type        = string
  default     = "orders"
}

variable "zones" {
  description = "Zone of each node, by its name."
  type        = map(string)
  default     = { a = "us-east4-a", b = "us-west2-b", c = "us-central1-c" }
}

variable "network" {
  description = "Network that the machines are in: its name, or its path. It has a subnetwork in each region."
  type        = string
  default     = "default"
}

variable "machine_type" {
  description = "Machine type of the nodes."
  type        = string
  default     = "n2-standard-4"
}

variable "image" {
  description = "Path of the image that the machines boot."
  type        = string
  default     = "projects/debian-cloud/global/images/family/debian-12"
}

variable "data" {
  description = "The disk of each store: type, size, and provisioned performance where the type takes it."
  type        = object({ type = string, size_gb = number, iops = optional(number), throughput = optional(number) })
  default     = { type = "pd-ssd", size_gb = 100 }
}

variable "stores" {
  description = "Data disks of each node. One: its log fails over to a side disk. More: each log fails over to the next store."
  type        = number
  default     = 1
}

variable "filesystem" {
  description = "File system of the stores: ext4 or xfs."
  type        = string
  default     = "ext4"
}

variable "labels" {
  description = "Labels of machines and disks."
  type        = map(string)
  default     = {}
}

variable "external_addresses" {
  description = "Whether the machines have external addresses, by which Terraform logs in."
  type        = bool
  default     = false
}

variable "ssh_ranges" {
  description = "Ranges of addresses that may log in to the machines: where Terraform runs."
  type        = list(string)
  default     = null
}

variable "private_key_file" {
  description = "File of the private key to log in with. Left out: HOLDFAST_SSH_PRIVATE_KEY, then the ssh-agent."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether a destroy is an error."
  type        = bool
  default     = true
}

provider "holdfast" {
  ssh = { private_key_file = var.private_key_file }
}

resource "holdfast_cluster" "this" {
  name = var.name

  gce = {
    project            = var.project
    network            = var.network
    machine_type       = var.machine_type
    image              = var.image
    labels             = var.labels
    external_addresses = var.external_addresses
    ssh_ranges         = var.ssh_ranges
  }

  nodes = { for node, zone in var.zones : node => { zone = zone } }

  stores       = [for i in range(var.stores) : { disk = var.data, filesystem = var.filesystem, attrs = ["store${i + 1}"] }]
  side_disk    = { type = "pd-ssd", size_gb = 25 }
  wal_failover = { mode = var.stores > 1 ? "among-stores" : "side-disk" }

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
