"""Reading a source: its events, keys, change images, statuses, and what a scan need not read."""
