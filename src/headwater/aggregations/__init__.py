"""The aggregations: one function family a file, and one line in `table.py`."""
