"""The demo: a world of events, replayed against the real processes."""
