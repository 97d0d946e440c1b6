"""What Grafana shows: boards and alert rules, written in Python, provisioned as files."""
