resource "holdfast_cluster" "orders" {
  name = "orders"
  ssh  = { user = "ops" }

  nodes = {
    a = { address = "10.0.0.1", host_keys = ["SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"] }
    b = { address = "10.0.0.2", stores = [{ match = { serial = "S5XANE0R1" } }] }
    c = { address = "c.example.com", cluster_address = "10.0.0.3" }
  }

  stores       = [{ disk = { size_gb = 100 }, filesystem = "xfs" }]
  side_disk    = { size_gb = 25 }
  wal_failover = { mode = "side-disk" }

  provision = [{
    name  = "enrol"
    shell = { inline = ["enrol-machine --token \"$TOKEN\""], secret_env = { TOKEN = "enrolment" } }
  }]
  provision_secrets         = { enrolment = var.enrolment_token } # in no plan and no state
  provision_secrets_version = 1
}

variable "enrolment_token" {
  type      = string
  ephemeral = true
}
