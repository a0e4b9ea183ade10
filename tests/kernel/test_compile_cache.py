"""Kernels are compiled once for all processes, until a source changes."""

import os

from headwater.kernel.load_numba import drop_stale_kernels


def _package(folder):
    """A package as `uv pip install` leaves it: no folder of bytecode next to the sources; numba
    makes one where a kernel is.
    """
    source, index = (
        folder / "kernel" / "a.py",
        folder / "kernel" / "__pycache__" / "a.f-1.py311.nbi",
    )
    index.parent.mkdir(parents=True)
    source.write_text("x = 1")
    index.write_text("")
    return source, index


def test_kernels_are_kept_where_python_writes_no_bytecode(tmp_path):
    _, index = _package(tmp_path)
    drop_stale_kernels(tmp_path)
    index.write_text("")  # compiled by the first process
    assert drop_stale_kernels(tmp_path) == 0
    assert index.exists()


def test_a_changed_source_drops_them(tmp_path):
    source, index = _package(tmp_path)
    drop_stale_kernels(tmp_path)
    index.write_text("")
    source.write_text("x = 20")
    os.utime(source, ns=(1, 1))
    assert drop_stale_kernels(tmp_path) == 1
    assert not index.exists()


def test_a_folder_that_cannot_be_written_to_is_left_alone(tmp_path, monkeypatch):
    _, index = _package(tmp_path)

    def refused(*_, **__):
        raise PermissionError

    monkeypatch.setattr("headwater.kernel.load_numba.Path.unlink", refused)
    monkeypatch.setattr("headwater.kernel.load_numba.Path.write_text", refused)
    assert drop_stale_kernels(tmp_path) == 0
    assert index.exists()
