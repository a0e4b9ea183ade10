"""Whether what is served is right: parity, explain, status."""
