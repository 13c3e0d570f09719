resource "holdfast_cluster" "orders" {
  name  = "orders"
  local = { directory = abspath(".holdfast") }

  nodes = {
    a = {}
    b = {}
    c = { raft_logstore = { wal = { segment_size_mb = 16 } } } # a canary
  }

  stores    = [{ disk = { size_gb = 10 }, filesystem = "ext4", attrs = ["ssd"] }]
  side_disk = { size_gb = 25 }

  raft_logstore = {
    backend = "wal"
    wal     = { segment_size_mb = 64 }
  }

  # The only owner of these: what somebody else sets is taken back.
  settings = {
    "storage.max_sync_duration" = "30s"
  }

  log                 = { level = "info" }
  deletion_protection = true
}

output "endpoints" {
  value = holdfast_cluster.orders.endpoints
}
