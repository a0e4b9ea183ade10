"""Definitions that users write: frozen values, compared by fingerprint, without I/O."""
