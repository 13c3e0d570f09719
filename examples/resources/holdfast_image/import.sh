# PROJECT/IMAGE, as gcloud compute images list shows it. The apply after it changes nothing but the state.
terraform import holdfast_image.base acme-prod/holdfast-debian-12-4c3fc0d6fc
