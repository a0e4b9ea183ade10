"""Processes that others speak to: what receives events, and the numbers that watchers read."""
