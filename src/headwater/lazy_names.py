"""Names of a package that are loaded when they are first used, so that importing the package loads
no heavy library.
"""

from __future__ import annotations

import importlib
import opcode
import sys
from collections.abc import Callable, Mapping, Sequence

_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]
_EMPTY: Mapping[str, str] = {}


def lazy_names(
    package: str,
    homes: Mapping[str, str],
    *,
    modules: Sequence[str] = (),
    others: Mapping[str, str] = _EMPTY,
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: its name.
        homes: by module, the names that it defines, separated by spaces.
        modules: of its modules, those that are names of the package too.
        others: names that other libraries use, and what they are called here.
    """
    home = {name: module for module, names in homes.items() for name in names.split()}

    def missing(name: str) -> object:
        if name in home:
            value: object = getattr(importlib.import_module(home[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        message = f"module {package!r} has no attribute {name!r}"
        if not name.startswith("_"):
            from headwater.errors import nearest

            inside = (
                f"{package}.{module}.{name}"
                for module in modules
                if name in vars(importlib.import_module(f"{package}.{module}")).get("__all__", ())
            )
            suggestion = others.get(name) or next(inside, None)
            close = (
                f"did you mean {suggestion!r}?" if suggestion else nearest(name, [*home, *modules])
            )
            message += (
                f"; {close if close.startswith('did') else f'dir({package}) lists all names'}"
            )
            caller = sys._getframe(1)  # noqa: SLF001 (an import would replace the message of an AttributeError by its own)
            if caller.f_code.co_code[caller.f_lasti] == _IMPORT_FROM:
                old = f"module {package!r} has no attribute"
                raise ImportError(
                    message.replace(old, f"cannot import from {package!r}:"), name=name
                )
        raise AttributeError(message, name=name)

    def listed() -> list[str]:
        """The public names, which a shell completes, and names that begin with an underscore."""
        return sorted(
            {
                *home,
                *modules,
                *(name for name in vars(sys.modules[package]) if name.startswith("__")),
            }
        )

    return missing, listed, sorted(home)
