"""Experiments in production: assignment, exposures, analysis, and worlds in which the true lift is known."""
