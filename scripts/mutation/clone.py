"""A copy of the checkout in which one file at a time is changed, and the kernels that still fit."""

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
    """The copy in `folder`/tree; `folder`/kernels has what numba compiled of the unchanged code."""

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
        for name in ("_imports", "_in_kernels"):
            self.__dict__.pop(name, None)

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[tuple[Path, bool]]:
        """The copy with a mutant in it: its folder of kernels, and whether it compiles any."""
        path, kernels = self.tree / mutant.path, self.folder / "kernels_of_mutant"
        original, times = path.read_bytes(), path.stat()
        outdated = self.outdated(mutant)
        shutil.rmtree(kernels, ignore_errors=True)
        kernels.mkdir()
        for file in self.kernels.glob("*/*"):  # links: numba replaces files whole
            if file not in outdated:
                (kernels / file.parent.name).mkdir(exist_ok=True)
                os.link(file, kernels / file.parent.name / file.name)
        try:
            path.write_bytes(mutant.site.applied(original))
            later = times.st_mtime_ns + 10**10  # no bytecode of the original fits
            os.utime(path, ns=(later, later))
            yield kernels, bool(outdated)
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            shutil.rmtree(kernels, ignore_errors=True)

    def outdated(self, mutant: Mutant) -> set[Path]:
        """The files of compiled kernels that do not fit the copy with a mutant in it."""
        stale = self.callers(mutant.path)
        modules = {(_cache_folder(self.tree / name), Path(name).stem) for name in stale}
        files = self.kernels.glob("*/*")
        return {
            file for file in files if (file.parent.name, file.name.partition(".")[0]) in modules
        }

    def importers(self, path: str) -> set[str]:
        """The files of src that import a file, by themselves."""
        return {name for name, imports in self._imports.items() if path in imports}

    def callers(self, path: str) -> set[str]:
        """The file, and those whose kernels hold one or a constant of it: numba does not ask."""
        found, new = {path}, {path}
        while new:
            every = ((name, target) for target in new for name in self._imports)
            new = {name for name, target in every if self._calls(name, target)} - found
            found |= new
        return found

    def _calls(self, name: str, target: str) -> bool:
        imported, used = self._imports[name].get(target, set()), self._in_kernels[name]
        return any(one in used or one.isupper() for one in imported) and self._compiled(name)

    def _compiled(self, name: str) -> bool:
        folder = self.kernels / _cache_folder(self.tree / name)
        return next(folder.glob(f"{Path(name).stem}.*"), None) is not None

    @cached_property
    def _in_kernels(self) -> dict[str, set[str]]:
        """The files of src, and the names in functions with a decorator: kernels are among them."""
        found: dict[str, set[str]] = {}
        for name in self._imports:
            tree = ast.parse((self.tree / name).read_bytes())
            functions = [node for node in ast.walk(tree) if getattr(node, "decorator_list", None)]
            names = (n for function in functions for n in ast.walk(function))
            found[name] = {n.id for n in names if isinstance(n, ast.Name)}
        return found

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
            if not name.startswith(".") and not name.endswith((".pyc", ".nbi", ".nbc")):
                yield path.relative_to(root).as_posix(), path


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    return one.read_bytes() == other.read_bytes()


def _cache_folder(path: Path) -> str:
    """The name of the folder in which numba keeps the kernels of a file, below NUMBA_CACHE_DIR."""
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 (as numba does it)
    return f"{os.path.basename(folder)}_{hashlib.sha1(folder.encode()).hexdigest()}"  # noqa: PTH119
