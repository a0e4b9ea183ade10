"""Results as plain frozen dataclasses."""
