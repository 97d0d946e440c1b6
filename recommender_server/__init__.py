"""Serve: the API and the page; holds nothing that a restart loses."""
