"""Jobs: batch views and precomputed predictions at their cuts, their schedule, the upkeep of a
store, and the erasure of one entity from everything that headwater stores.
"""
