"""The service: features and predictions over HTTP and in process."""
