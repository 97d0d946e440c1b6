"""Real servers for people and machines without Docker: installed outside the repository, run as local processes."""
