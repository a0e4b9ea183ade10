"""Metrics for Prometheus, of one process and of several."""
