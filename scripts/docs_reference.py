"""Write docs/reference.md: every public name of headwater, grouped by the module that holds it. Run by `make docs`."""

import importlib
import inspect
from collections import defaultdict
from pathlib import Path

import headwater
from headwater import errors, operations

HEAD = """# Reference

Every public name, as in `import headwater as hw`; names of operators are in `hw.operations`. A module's first sentence heads its names.
"""


def page() -> str:
    """The whole page, in the markup of mkdocstrings."""
    homes = defaultdict(list)
    for package in (headwater, operations):
        for name in package.__all__:
            homes[getattr(package, name).__module__].append(name)
    homes["headwater.errors"] = [
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    sections = [HEAD]
    for home, names in sorted(homes.items()):
        title = (importlib.import_module(home).__doc__ or home).strip().splitlines()[0].rstrip(".")
        sections.append("\n".join([f"## {title}\n", *(f"::: {home}.{name}\n" for name in names)]))
    return "\n".join(sections)


if __name__ == "__main__":
    (Path(__file__).resolve().parents[1] / "docs" / "reference.md").write_text(page(), encoding="utf-8")
