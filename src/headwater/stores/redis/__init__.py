"""Redis, Redis Cluster and Valkey."""
