"""A machine compiles each kernel once: runs of the tests take what earlier ones have compiled, of
the same sources and the same numba; and of the workers of one run, who comes second waits for the
first, and loads what it compiled.

numba keeps what it compiled beside the sources.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path


def take_compiled(root):
    """Put what earlier runs on this machine have compiled beside the sources, where there is less;
    returns the state of the sources, for `keep_compiled`.
    """
    kept = _kept(root)
    if _is_ours(kept.parent) and _number(kept) > _number(root / "src"):
        for path in kept.rglob("*.nb[ic]"):
            caches = root / path.relative_to(kept).parent / "__pycache__"
            caches.mkdir(exist_ok=True)
            shutil.copy(path, caches)
    return _state(root)


def keep_compiled(root, began):
    """Keep what is compiled for later runs, where it is more than was kept, and the sources are as
    they were when the run began: else what was compiled may be of others.
    """
    kept = _kept(root)
    if _state(root) != began or _number(root / "src") <= _number(kept):
        return
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(kept.parent):
        return
    made = Path(tempfile.mkdtemp(dir=kept.parent))
    for path in root.glob("src/**/*.nb[ic]"):
        folder = made / "made" / path.parents[1].relative_to(root)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    if kept.exists():
        kept.rename(made / "before")
    (made / "made").rename(kept)
    shutil.rmtree(made)


def _is_ours(folder):
    """Whether nobody else can have put code there, which loading would run."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    there = folder.stat()
    return there.st_uid == os.getuid() and not there.st_mode & 0o022


def _state(root):
    """Which sources there are, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in root.glob("src/**/*.py")}


def _number(folder):
    return sum(1 for _ in folder.rglob("*.nb[ic]"))


def _kept(root):
    """Where compiled kernels of these sources are kept."""
    digest = hashlib.sha256()
    for source in sorted(root.glob("src/**/*.py")):  # numba does not look at what a kernel calls
        digest.update(f"{source.relative_to(root)}\n".encode() + source.read_bytes())
    made_by = f"numba{version('numba')}-{sys.implementation.cache_tag}-{platform.machine()}"
    folder = Path(tempfile.gettempdir(), f"headwater-kernels-{os.getuid()}")
    return folder / f"{made_by}-{digest.hexdigest()[:16]}"


def share_compilation(folder):
    """Let the processes that call this compile one after the other what numba keeps on disk, a lock
    in the folder for each function.

    A function is compiled while those that call it are, and never the other way round, so no two
    processes wait for each other.
    """
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.dispatcher import Dispatcher

    folder.mkdir(parents=True, exist_ok=True)
    compiled, held = Dispatcher.compile, set()

    def compile_once(self, signature):
        path = getattr(self._cache, "cache_path", None)
        name = f"{path}/{self.py_func.__qualname__}-{self.py_func.__code__.co_firstlineno}"
        with global_compiler_lock:  # before the file, as numba holds it while it compiles a kernel
            if path is None or name in held:
                return compiled(self, signature)
            with (folder / hashlib.sha256(name.encode()).hexdigest()[:16]).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                held.add(name)
                try:
                    return compiled(self, signature)
                finally:
                    held.discard(name)
                    # also for processes that were forked meanwhile
                    fcntl.flock(lock, fcntl.LOCK_UN)

    Dispatcher.compile = compile_once
