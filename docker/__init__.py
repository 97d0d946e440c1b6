"""Images, compose, Kubernetes manifests, and what Graphite and Grafana show."""
