provider "holdfast" {
  ssh = {
    private_key_file = "~/.ssh/id_ed25519"
    known_hosts_file = "~/.ssh/known_hosts"

    # The machines are behind a bastion.
    jump = [{ user = "ops", address = "bastion.example.com" }]
  }
}
