"""A copy of the checkout in which one file at a time is changed."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from scripts.mutation.drawing import Mutant

LEFT_OUT = {"build", "dist", "__pycache__", "node_modules"}


class Clone:
    """The copy in `folder`/tree; `folder`/kernels has what is compiled of it."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.folder = checkout, folder
        self.tree, self.kernels = folder / "tree", folder / "kernels"
        self.kernels.mkdir(parents=True, exist_ok=True)

    def update(self) -> None:
        """Make the copy equal to the checkout; equal files keep their times and caches."""
        wanted = dict(_files(self.checkout))
        for name, path in wanted.items():
            copy = self.tree / name
            if not copy.exists() or not _same(path, copy):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        for name, copy in list(_files(self.tree)):
            if name not in wanted:
                copy.unlink()
        self.__dict__.pop("_imports", None)

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[bool]:
        """The copy with a mutant in it, and whether kernels may be compiled of it."""
        path = self.tree / mutant.path
        original, times = path.read_bytes(), path.stat()
        try:
            path.write_bytes(mutant.site.applied(original))
            later = times.st_mtime_ns + 10**10  # no bytecode of the original fits
            os.utime(path, ns=(later, later))
            yield any(self._compiled(name) for name in self.callers(mutant.path))
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def importers(self, path: str) -> set[str]:
        """The files of src that import a file, by themselves."""
        return {name for name, imports in self._imports.items() if path in imports}

    def callers(self, path: str) -> set[str]:
        """The file, and those with kernels that import it, by themselves or through others."""
        found, new = {path}, {path}
        while new:
            every = {name for target in new for name in self.importers(target)}
            new = {name for name in every if self._compiled(name)} - found
            found |= new
        return found

    def _compiled(self, name: str) -> bool:
        """Whether a file has kernels."""
        return b"@njit(" in (self.tree / name).read_bytes()

    @cached_property
    def _imports(self) -> dict[str, dict[str, set[str]]]:
        """The files of src, and of each the files that it imports, with the names."""
        source = self.tree / "src"
        paths = [path.relative_to(source) for path in source.rglob("*.py")]
        files = {".".join(path.with_suffix("").parts): source / path for path in paths}
        found: dict[str, dict[str, set[str]]] = {}
        for path in files.values():
            imports = found.setdefault(path.relative_to(self.tree).as_posix(), {})
            for node in ast.walk(ast.parse(path.read_bytes())):
                if not isinstance(node, ast.ImportFrom) or node.module is None:
                    continue
                for alias in node.names:
                    for module in (node.module, f"{node.module}.{alias.name}"):
                        if module in files:
                            target = files[module].relative_to(self.tree).as_posix()
                            imports.setdefault(target, set()).add(alias.asname or alias.name)
        return found


def digest(paths: list[Path]) -> str:
    """A digest of the contents of files, by their names."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return total.hexdigest()[:16]


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and not name.endswith(".pyc"):
                yield path.relative_to(root).as_posix(), path


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    return one.read_bytes() == other.read_bytes()
