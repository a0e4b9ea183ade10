"""The version of the package, for whoever says it."""

__version__ = "0.1.0"
