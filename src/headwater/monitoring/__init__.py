"""Checks of served values: parity, explain, status."""
