"""What a user writes: frozen values, compared by fingerprint, without I/O."""
