# By the cluster's directory and the key …
terraform import holdfast_kv.limit 'local:/srv/holdfast#orders/limit'
# … or by addresses of nodes.
terraform import holdfast_kv.limit 'http://127.0.10.1:8500,http://127.0.10.2:8500#orders/limit'
