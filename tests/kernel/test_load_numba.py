"""The loading of numba in a fresh process: without scipy.linalg, and with the linear algebra of
kernels as it was.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOADED = """
import sys
import numba as nb, numpy as np
from headwater.kernel.load_numba import loading_numba
from headwater.kernel.sorting import order_of
with loading_numba():
    pass
order, _ = order_of(np.array([1, 0]), np.array([3, 4]), 2, threads=1)
assert order.tolist() == [1, 0]
print("scipy.linalg" in sys.modules)
product = nb.njit(lambda x: np.dot(x, x))(np.array([3.0, 4.0]))
from numba.np import arraymath, linalg
assert arraymath.ensure_blas is linalg.ensure_blas and linalg.ensure_blas.__name__ == "ensure_blas"
print(product, "scipy.linalg" in sys.modules)
"""
_UNKNOWN_NUMBA = """
import sys
import numba.np.linalg
del numba.np.linalg.ensure_blas
from headwater.kernel.load_numba import loading_numba
with loading_numba():
    pass
print("went on")
"""


def _printed(code: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.slow
def test_kernels_run_without_scipy_and_linear_algebra_imports_it() -> None:
    assert _printed(_LOADED) == ["False", "25.0 True"]


def test_a_numba_that_is_built_otherwise_is_left_to_itself() -> None:
    assert _printed(_UNKNOWN_NUMBA) == ["went on"]
