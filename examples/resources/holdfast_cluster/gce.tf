resource "holdfast_cluster" "orders" {
  name = "orders"

  gce = {
    project      = "acme-prod"
    network      = "default"
    machine_type = "n2-standard-8"
    labels       = { team = "orders" }
  }

  nodes = {
    a = { zone = "us-east4-a" }
    b = { zone = "us-west2-b" }
    c = { zone = "us-central1-c", machine_type = "n2d-standard-8" }
  }

  stores       = [{ disk = { type = "pd-ssd", size_gb = 500 }, filesystem = "xfs" }]
  side_disk    = { type = "pd-ssd", size_gb = 50 }
  wal_failover = { mode = "side-disk" }

  deletion_protection = true
}
