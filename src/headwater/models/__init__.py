"""Fitting, storing and loading models."""

import sys

if sys.flags.optimize > 1:
    # LightGBM's Dask classes fail at import without docstrings (python -OO); it goes without them
    # where Dask is absent.
    sys.modules.setdefault("lightgbm.dask", None)  # type: ignore[arg-type]
