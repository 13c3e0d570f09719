# By the place where it is: the directory that it lives in, or its machines. Everything
# but timeouts, binary and secrets is read from the cluster; deletion_protection is taken
# to be true.
terraform import holdfast_cluster.orders local:/srv/holdfast
terraform import holdfast_cluster.orders 'ssh:a=ops@10.0.0.1,b=ops@10.0.0.2,c=ops@c.example.com:2222/10.0.0.3#SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU'
terraform import holdfast_cluster.orders acme-prod/orders # on Compute Engine: PROJECT/NAME
