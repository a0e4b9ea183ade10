"""Kernels are compiled when they change, and at no other time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
import pytest

import headwater
from headwater.kernel import compile_cache
from headwater.kernel.compile_cache import njit

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(headwater.__file__).parent
COMPILED = """
import sys
import numpy as np
from numba.core import event
with event.install_recorder("numba:compile") as compiled:
    from headwater.kernel.sorting import order_and_times
    ones = np.zeros(1, np.int64)
    order_and_times(ones, ones, 1, threads=1)
print(sum(each.is_start for _, each in compiled.buffer))
"""


def compiled_by(source: Path, kernels: Path) -> int:
    """How many functions a process compiles that sorts with the package below a folder."""
    environment = os.environ | {"PYTHONPATH": str(source), "NUMBA_CACHE_DIR": str(kernels)}
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_another_checkout_compiles_what_differs_and_nothing_else(tmp_path: Path) -> None:
    first = compiled_by(PACKAGE.parent, tmp_path / "kernels")
    assert first > 3
    shutil.copytree(PACKAGE, tmp_path / "other" / "headwater")
    main = tmp_path / "other" / "headwater" / "__main__.py"
    main.write_text(main.read_text() + "\n# edited\n")
    sorting = tmp_path / "other" / "headwater" / "kernel" / "sorting.py"
    sorting.write_text("# a line more\n" + sorting.read_text())
    assert compiled_by(tmp_path / "other", tmp_path / "kernels") == 0
    changed = sorting.read_text().replace("_BLOCK = 1 << 12", "_BLOCK = 1 << 11")
    assert changed != sorting.read_text()
    sorting.write_text(changed)
    assert 0 < compiled_by(tmp_path / "other", tmp_path / "kernels") < first


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(compile_cache, "_folder", lambda: tmp_path / "kernels")
    compile_cache._drop_old.cache_clear()
    yield tmp_path / "kernels"
    compile_cache._drop_old.cache_clear()


def key_of(kernel: Any, *arguments: Any) -> str:
    kernel(*arguments)
    signature = kernel.signatures[-1]
    return str(kernel._cache._path(signature, kernel.targetctx.codegen()))


def test_what_a_kernel_names_is_part_of_its_key(kept: Path) -> None:
    def scaled(factor: Any) -> Any:
        inner = njit()(lambda x: x * factor)
        return njit()(lambda x: inner(x) + 1)

    keys = {key_of(scaled(factor), 2.0) for factor in (2, 2.0, 3, np.int64(2), np.int32(2))}
    assert len(keys) == 5
    assert key_of(scaled(3), 2.0) in keys
    one, other = namedtuple("Pair", "a b"), namedtuple("Pair", "b a")  # noqa: PYI024 (their numba types have one text)
    first = njit()(lambda pair: pair.a)
    assert key_of(first, one(1, 2)) != key_of(first, other(1, 2))


def test_a_damaged_file_is_compiled_again(kept: Path) -> None:
    def made() -> Any:
        return njit()(lambda x: x + 1)

    assert made()(1) == 2
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert made()(1) == 2
    assert len(path.read_bytes()) > 100


def test_a_folder_that_cannot_be_written_keeps_nothing(kept: Path) -> None:
    kept.write_text("a file")
    assert njit()(lambda x: x + 3)(1) == 4


def test_what_was_not_used_for_long_is_deleted(kept: Path) -> None:
    kept.mkdir()
    for days in (59, 61):
        path = kept / f"{days}-days.kernel"
        path.write_text("")
        then = path.stat().st_mtime - days * 86_400
        os.utime(path, (then, then))
    (kept / "new.kernel").write_text("")
    njit()(lambda x: x + 4)(1)
    assert (kept / "59-days.kernel").exists()
    assert not (kept / "61-days.kernel").exists()


def test_a_kernel_that_names_something_without_content_is_refused(kept: Path) -> None:
    thing = object()
    kernel = njit()(lambda x: (x, thing)[0])
    with pytest.raises(TypeError, match="object at"):
        kernel._cache._path((nb.int64,), kernel.targetctx.codegen())
