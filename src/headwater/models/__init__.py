"""Fitting, keeping and loading what is served."""
