"""Measurements, one module for each source: each returns readings by name, and none writes to its
source.
"""
