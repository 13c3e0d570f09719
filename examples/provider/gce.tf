provider "holdfast" {
  gce = { credentials_file = "~/acme-prod.json" } # or: gcloud auth application-default login

  # Machines made on Compute Engine are logged in to with this key.
  ssh = { private_key_file = "~/.ssh/id_ed25519" }
}
