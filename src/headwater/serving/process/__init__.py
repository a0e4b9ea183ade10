"""The processes of a service: server, supervisor, ingestion."""
