data "holdfast_stores" "orders" {
  location   = holdfast_cluster.orders.location
  cluster_id = holdfast_cluster.orders.id
}

# Stores with less than a tenth of their space free.
output "full_stores" {
  value = [for s in data.holdfast_stores.orders.stores : "${s.node}:${s.path}" if s.free_bytes < s.size_bytes / 10]
}
