"""Logs of answers and outcomes: the serving log, and the journal of posted outcomes."""
