"""Where events are read from as they happen: Kafka, files that grow, and pushed events."""
