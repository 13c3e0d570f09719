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

  # While a disk hangs, its log writes to the side disk.
  wal_failover = { mode = "side-disk" }

  # The only owner of these: what somebody else sets is taken back.
  settings = {
    "storage.max_sync_duration" = "40s"
  }

  log                 = { level = "info" }
  deletion_protection = true
}

output "endpoints" {
  value = holdfast_cluster.orders.endpoints
}
