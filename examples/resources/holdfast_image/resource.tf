# What machines need, without the internet and without steps of their own: an image with agent, engine and packages.
resource "holdfast_image" "base" {
  project = "acme-prod"
  name    = "holdfast-debian-12"
  family  = "holdfast-debian-12"
  labels  = { team = "storage" }

  # Where it is baked. The network has a rule that lets Terraform reach port 22 of machines with this tag.
  zone             = "us-east4-a"
  network          = "default"
  tags             = ["allow-ssh"]
  external_address = true

  provision = [
    {
      name    = "packages"
      timeout = "10m"
      retries = 2
      shell   = { inline = ["apt-get update -q", "apt-get install -y -q xfsprogs chrony"] }
    },
    {
      name = "sysctl"
      file = { path = "/etc/sysctl.d/90-store.conf", content = "vm.swappiness = 1\n" }
    },
  ]

  # Another word, another image: for security updates of Debian.
  triggers = { updates = "2026-11" }

  # Machines of the old one may start until the cluster has the new one.
  lifecycle {
    create_before_destroy = true
  }
}

resource "holdfast_cluster" "orders" {
  name = "orders"
  gce = {
    project      = "acme-prod"
    network      = "default"
    machine_type = "n2-standard-4"
    image        = holdfast_image.base.image
  }
  nodes = {
    a = { zone = "us-east4-a" }
    b = { zone = "us-west2-b" }
    c = { zone = "us-central1-c" }
  }
  stores    = [{ disk = { type = "pd-ssd", size_gb = 100 } }]
  side_disk = { type = "pd-balanced", size_gb = 25 }
}
