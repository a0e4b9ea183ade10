"""Runs that were kept: listed, read as typed results, compared."""
