"""Pure functions over numpy arrays: T and K, bounds, late events, folds, sorting; hot loops in
numba.
"""

from pathlib import Path

from headwater.kernel.load_numba import drop_stale_kernels

drop_stale_kernels(Path(__file__).parents[1])
