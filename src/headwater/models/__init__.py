"""Fitting, storing and loading models."""
