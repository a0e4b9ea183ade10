"""On demand feature views of Feast as request features: the function as it was, called once for
each of its features.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headwater.init.feast_repo import FeastOnDemandView, FeastView
from headwater.init.tables import quoted

_TYPES: Mapping[str, str] = {
    "float32": "float",
    "float64": "float",
    "int32": "int",
    "int64": "int",
    "string": "str",
    "bool": "bool",
    "unixtimestamp": "datetime",
}
# a missing number is NaN there, as Feast has it
_PANDAS = {"float": '"float64"', "int": '"float64"'}


def python_type(dtype: str) -> str | None:
    """The type of a value of a Feast type; None if it has no counterpart.

    >>> python_type("Float32"), python_type("Json")
    ('float', None)
    """
    return _TYPES.get(dtype.lower())


@dataclass(frozen=True)
class MadeFeatures:
    """The code of request features, their names, and the imports that they need."""

    code: str
    names: Mapping[str, str]  # by those of Feast
    imports: Sequence[str]


def request_features(
    view: FeastOnDemandView,
    views: Mapping[str, FeastView],
    names: Mapping[str, str],
    named: Callable[[str], str],
    notes: list[str],
) -> MadeFeatures:
    """A request feature for each feature of the view.

    Args:
        view: it.
        views: the feature views that are carried over, by name.
        names: of its features in headwater.
        named: the name in headwater of a view, or of a feature of one.
        notes: takes what differs or could not be carried over.
    """
    inputs, missing = _inputs(view, views, named)
    untyped = [f.name for f in view.features if python_type(f.dtype) is None]
    reason = None
    if view.mode not in ("python", "pandas"):
        reason = f"its mode is {view.mode}; write it as a plain function with @hw.request_feature"
    elif missing:
        reason = f"it reads {', '.join(missing)}, which is not carried over"
    elif not view.code.startswith("def "):
        reason = "its function has no source"
    elif not view.features or untyped:
        reason = f"{', '.join(untyped) or 'its schema'} has no type that headwater computes"
    if reason:
        notes.append(f"on demand feature view {view.name!r} is not carried over: {reason}")
        return MadeFeatures(
            "# TODO "
            + view.name
            + "\n"
            + textwrap.indent(view.code.rstrip(), "# ", lambda _: True),
            {},
            [],
        )
    if view.mode == "pandas":
        notes.append(
            f"on demand feature view {view.name!r} runs pandas for each row; a plain function of "
            "numbers is a hundred times faster"
        )
    if view.others:
        notes.append(
            f"on demand feature view {view.name!r} uses {', '.join(view.others)} of its module; "
            "import it"
        )
    if view.writes:
        notes.append(
            f"on demand feature view {view.name!r} is computed at each read here, and not written "
            "to the store"
        )
    parts = [view.code.rstrip()] + [
        _feature(view, f.name, names[f.name], python_type(f.dtype) or "", inputs)
        for f in view.features
    ]
    pandas = (
        ["import pandas as pd"]
        if view.mode == "pandas" and "import pandas as pd" not in view.imports
        else []
    )
    return MadeFeatures("\n\n".join(parts), names, [*view.imports, *pandas])


@dataclass(frozen=True)
class _Input:
    name: str
    dtype: str
    default: str  # the feature that fills it; empty for a field of the request


def _inputs(
    view: FeastOnDemandView, views: Mapping[str, FeastView], named: Callable[[str], str]
) -> tuple[Sequence[_Input], Sequence[str]]:
    """What the function reads, and what of it headwater does not have. A column that the function
    does not name is left out.
    """
    inputs, missing = [], []
    for field in view.request:
        kind = python_type(field.dtype)
        if kind is None:
            missing.append(field.name)
        else:
            inputs.append(_Input(field.name, kind, ""))
    for projection in view.views:
        if projection.view not in views:
            missing.append(projection.view)
            continue
        types = {f.name: python_type(f.dtype) for f in views[projection.view].features}
        for name in projection.features:
            if (
                f'"{name}"' not in view.code
                and f"'{name}'" not in view.code
                and f".{name}" not in view.code
            ):
                continue
            kind = types.get(name)
            if kind is None:
                missing.append(f"{projection.view}:{name}")
            else:
                inputs.append(
                    _Input(name, kind, f"{named(projection.view)}[{quoted(named(name))}]")
                )
    return inputs, missing


def _feature(
    view: FeastOnDemandView, name: str, made: str, kind: str, inputs: Sequence[_Input]
) -> str:
    """The code of one request feature. Fields of the request stand first, since features are
    defaults.
    """
    parameters = [
        f"{i.name}: {i.dtype}" if not i.default else f"{i.name}: {i.dtype} | None = {i.default}"
        for i in inputs
    ]
    if view.mode == "pandas":
        columns = [
            f"{quoted(i.name)}: pd.Series([{i.name}], dtype={_PANDAS.get(i.dtype, 'object')})"
            for i in inputs
        ]
        lines = [
            (
                "value = "
                f"{view.function}(pd.DataFrame({{{', '.join(columns)}}}))[{quoted(name)}].iloc[0]"
            )
        ]
        lines.append(
            f"return None if pd.isna(value) else {kind}(value)"
            if kind != "datetime"
            else "return None if pd.isna(value) else value"
        )
    elif view.singleton:
        arguments = ", ".join(f"{quoted(i.name)}: {i.name}" for i in inputs)
        lines = [f"return {view.function}({{{arguments}}})[{quoted(name)}]"]
    else:
        arguments = ", ".join(f"{quoted(i.name)}: [{i.name}]" for i in inputs)
        lines = [f"return {view.function}({{{arguments}}})[{quoted(name)}][0]"]
    head = f"@hw.request_feature\ndef {made}({', '.join(parameters)}) -> {kind} | None:"
    return "\n".join([head, *(f"    {line}" for line in lines)])
