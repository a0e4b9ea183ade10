"""Engines read events, bucket them by key and run the kernel."""
