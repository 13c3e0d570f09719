resource "holdfast_kv" "limit" {
  location   = holdfast_cluster.orders.location
  cluster_id = holdfast_cluster.orders.id

  key   = "orders/limit"
  value = "250"
}
