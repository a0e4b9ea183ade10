"""Results as plain frozen values."""
