"""Jobs: batch views and precomputed predictions at their cuts, their schedule, and the upkeep of a
store.
"""
