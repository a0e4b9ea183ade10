"""Pure functions over numpy arrays: T and K, bounds, late events, folds, sorting; hot loops in
numba.
"""
