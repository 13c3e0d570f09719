resource "holdfast_kv" "limit" {
  local      = holdfast_cluster.orders.local
  cluster_id = holdfast_cluster.orders.id

  key   = "orders/limit"
  value = "250"
}
