# By the directory that the cluster lives in. Everything but timeouts and binary
# is read from the cluster; deletion_protection is taken to be true.
terraform import holdfast_cluster.orders local:/srv/holdfast
