# By the cluster's place and the key …
terraform import holdfast_kv.limit 'local:/srv/holdfast#orders/limit'
terraform import holdfast_kv.limit 'ssh:a=ops@10.0.0.1,b=ops@10.0.0.2,c=ops@10.0.0.3#orders/limit'
# … or by addresses of nodes.
terraform import holdfast_kv.limit 'http://127.0.10.1:8500,http://127.0.10.2:8500#orders/limit'
