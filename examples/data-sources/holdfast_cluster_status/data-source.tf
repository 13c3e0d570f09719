data "holdfast_cluster_status" "orders" {
  location   = holdfast_cluster.orders.location
  cluster_id = holdfast_cluster.orders.id
}

# Fails the plan while a node's engine does not run.
check "engines" {
  assert {
    condition     = alltrue([for n in data.holdfast_cluster_status.orders.nodes : n.engine == "running"])
    error_message = "An engine of ${data.holdfast_cluster_status.orders.name} does not run."
  }
}
