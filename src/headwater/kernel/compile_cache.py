"""Compiled kernels on disk, keyed by what they are compiled from.

numba's own cache looks at the path and the text of one file: the same function in another checkout
is compiled again, and one that calls a changed function of another file is not. Here the key is the
content: the function's code, the constants it names, every kernel that it calls, its argument
types, the processor, and the versions of Python and numba. So a kernel is compiled when it
changed, and at no other time; wherever the package is installed, and whatever else was edited.

Kernels are kept in `NUMBA_CACHE_DIR`, or in the user's folder for caches.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Literal
from uuid import uuid4

import numba as nb
import numpy as np
from numba.core import compiler, serialize
from numba.misc import appdirs

_KEPT_DAYS = 60  # who was last used so long before the newest is deleted


def njit(
    *,
    nogil: bool = True,
    error_model: Literal["python", "numpy"] = "python",
    inline: Literal["never", "always"] = "never",
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function at its first call, as `numba.njit` does, and keep it on disk.

    Args:
        nogil: whether other threads of Python may run meanwhile.
        error_model: "numpy" divides by zero to inf or nan; "python" raises.
        inline: "always" puts the function's code into its callers.

    >>> @njit()
    ... def twice(x):
    ...     return 2 * x
    >>> twice(21)
    42
    """

    def compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401 (a numba dispatcher)
        kernel: Any = nb.njit(nogil=nogil, error_model=error_model, inline=inline)(function)
        kernel._cache = _Kept(kernel)  # noqa: SLF001 (what numba's own cache=True sets)
        return kernel

    return compiled


class _Kept:
    """The overloads of one kernel on disk, a file each; what numba asks of a cache."""

    def __init__(self, kernel: Any) -> None:  # noqa: ANN401 (a numba dispatcher)
        self._kernel = kernel

    @property
    def cache_path(self) -> str:
        return str(_folder())

    def load_overload(self, signature: Any, context: Any) -> Any:  # noqa: ANN401
        """What was compiled for these argument types; nothing where it is missing or damaged."""
        context.refresh()
        path = self._path(signature, context.codegen())
        with suppress(Exception):  # a damaged file is written again
            kept = pickle.loads(path.read_bytes())  # noqa: S301 (as numba loads its own)
            loaded = compiler.CompileResult._rebuild(context, *kept)  # type: ignore[no-untyped-call]  # noqa: SLF001
            os.utime(path)
            return loaded
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:  # noqa: ANN401
        """Keep what was compiled; where the folder cannot be written to, it stays in memory."""
        if compiled.lifted or compiled.library.has_dynamic_globals:
            return
        path = self._path(signature, compiled.codegen)
        made = path.with_name(f"{path.name}.{uuid4().hex}")
        with suppress(OSError):
            _drop_old(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(serialize.dumps(compiled._reduce()))  # type: ignore[no-untyped-call]  # noqa: SLF001
            made.replace(path)

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...

    def _path(self, signature: Any, codegen: Any) -> Path:  # noqa: ANN401
        key = [*_texts(self._kernel, set()), *map(_type_text, signature)]
        key += [repr(codegen.magic_tuple()), sys.version, nb.__version__]
        digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
        name = self._kernel.py_func.__name__
        return _folder() / f"{name}-{digest}.kernel"


@cache
def _folder() -> Path:
    users: Any = appdirs.AppDirs("headwater", appauthor=False)  # type: ignore[no-untyped-call]
    return Path(vars(nb.config)["CACHE_DIR"] or users.user_cache_dir) / "kernels"


@cache
def _drop_old(folder: Path) -> None:
    """Delete what has not been used for long; once in a process."""
    with suppress(OSError):
        used = {path: path.stat().st_mtime for path in folder.glob("*.kernel*")}
        for path, last in used.items():
            if last < max(used.values()) - _KEPT_DAYS * 86_400:
                path.unlink()


def _texts(value: Any, seen: set[int]) -> Iterator[str]:  # noqa: ANN401
    """All that compiled code takes from a value that it names, in an order that is always the
    same.
    """
    if hasattr(value, "py_func"):  # a kernel
        yield repr(sorted(value.targetoptions.items()))
        yield from _texts(value.py_func, seen)
    elif hasattr(value, "_defn"):  # an intrinsic
        yield from _texts(value._defn, seen)  # noqa: SLF001
    elif isinstance(value, FunctionType) and not value.__module__.startswith("numba."):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield value.__qualname__
        yield from _code_texts(value.__code__, value.__doc__)
        cells = (cell.cell_contents for cell in value.__closure__ or ())
        named = dict(zip(value.__code__.co_freevars, cells, strict=True))
        named |= {n: value.__globals__[n] for n in _names(value.__code__) & set(value.__globals__)}
        for name in sorted(named):
            yield name
            yield from _texts(named[name], seen)
    elif isinstance(value, tuple | list):
        yield f"{type(value).__qualname__} {len(value)}"
        for each in value:
            yield from _texts(each, seen)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    elif isinstance(value, ModuleType) and not value.__name__.startswith("headwater"):
        yield value.__name__
    elif isinstance(value, type | FunctionType | BuiltinFunctionType):
        yield f"{value.__module__}.{value.__qualname__} {getattr(value, '_fields', '')}"
    elif " at 0x" in (text := repr(value)) or isinstance(value, ModuleType):
        raise TypeError(f"a kernel names {text}, whose content cannot be part of its key")
    else:
        yield f"{type(value).__qualname__} {text}"


def _names(code: CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _code_texts(code: CodeType, doc: str | None = None) -> Iterator[str]:
    """A function's instructions and what they name; not where it stands, nor its docstring."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_texts(constant)
        elif constant != doc:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def _type_text(kind: Any) -> str:  # noqa: ANN401
    """A numba type; of a named tuple the fields too, which its name leaves out."""
    inner = "".join(map(_type_text, getattr(kind, "types", ())))
    return f"{kind} {getattr(getattr(kind, 'instance_class', None), '_fields', '')}{inner}"
