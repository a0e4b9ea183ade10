"""The engine on Spark: rows are dealt to workers by key, and each worker runs the local engine."""
