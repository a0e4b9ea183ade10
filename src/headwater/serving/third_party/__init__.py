"""Third-party features: called concurrently, cached, deduplicated, time-limited."""
