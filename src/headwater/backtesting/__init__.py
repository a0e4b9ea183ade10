"""What fresher features buy: one model at several freshness levels, with honest intervals."""
