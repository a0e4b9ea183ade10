"""LightGBM's text format, checked before LightGBM reads it: its C++ code trusts what a file says,
and a wrong index ends the process.

Only understood content is passed on. LightGBM's input is rebuilt from the checked parts, each
number as it is written in the file, so predictions keep their bits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headwater.errors import DataError

_INT32 = 2**31 - 1
_LEAVES = 131_072  # LightGBM's own limit
_VERSIONS = ("v2", "v3", "v4")
_NUMBER = r"[+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+"
_INTEGERS = re.compile(r"(?:-?\d{1,10}(?: -?\d{1,10})*+)?", re.ASCII)
_FINITE = re.compile(rf"(?:{_NUMBER}(?: {_NUMBER})*+)?", re.ASCII)
_ANY = re.compile(
    rf"(?:(?:{_NUMBER}|[+-]?inf|-?nan)(?: (?:{_NUMBER}|[+-]?inf|-?nan))*+)?", re.ASCII
)
_PRINTED = re.compile(r"[^ \x00-\x1f\x7f]+(?: [^ \x00-\x1f\x7f]+)*+")
_PARAMETER = re.compile(r"\[\w+: [^\"\\\x00-\x1f\x7f]*\]")
_CLASSES = ("multiclass", "multiclassova")
_NODE_FLOATS = ("split_gain", "internal_value", "internal_weight")
_LEAF_FLOATS = ("leaf_weight",)

Refuse = Callable[[str], DataError]


@dataclass(frozen=True)
class Checked:
    """A model's text that LightGBM can read; how many features it takes, how many trees it has, and
    how many numbers it gives for a row.
    """

    text: str
    features: int
    trees: int
    outputs: int


def checked(data: bytes, origin: object) -> Checked:
    r"""The text of a model, every index in it in range and every tree a tree.

    Raises:
        DataError: the problem, and where.

    >>> checked(b"tree\nversion=v4\nnum_class=1000000000\n", "model.txt")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    headwater.errors.DataError: model.txt is not a readable LightGBM model: it has no line 'end of trees'; save it again with ...
    """  # noqa: E501 (output as it is printed)

    def refuse(problem: str) -> DataError:
        return DataError(
            f"{origin} is not a readable LightGBM model: {problem}; save it again with "
            "Booster.save_model"
        )

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise refuse(f"byte {error.start} is not UTF-8") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[0] != "tree":
        raise refuse(f"it begins with {lines[0][:40]!r}, not with 'tree'")
    end = next((n for n, line in enumerate(lines) if line == "end of trees"), -1)
    if end < 0:
        raise refuse("it has no line 'end of trees'")
    first = next((n for n, line in enumerate(lines[:end]) if line.startswith("Tree=")), end)
    trees = _trees(lines[first:end], refuse)
    output, features, outputs = _head(_fields(lines[1:first], refuse), len(trees), refuse)
    for number, tree in enumerate(trees):
        output += [f"Tree={number}", *_tree(tree, features, _at(number, refuse)), "", ""]
    output += [
        "end of trees",
        "",
        "parameters:",
        *(line for line in lines[end:] if _PARAMETER.fullmatch(line)),
        "",
        "end of parameters",
        "",
    ]
    output += [f"pandas_categorical:{json.dumps(_categories(lines[end:], refuse))}", ""]
    return Checked("\n".join(output), features, len(trees), outputs)


def _at(number: int, refuse: Refuse) -> Refuse:
    return lambda problem: refuse(f"tree {number}: {problem}")


def _fields(lines: Sequence[str], refuse: Refuse) -> dict[str, str]:
    """Lines of key=value, and those of a key alone."""
    fields: dict[str, str] = {}
    for line in filter(None, lines):
        key, _, value = line.partition("=")
        if key in fields:
            raise refuse(f"{key[:40]!r} is repeated")
        fields[key] = value.strip(" ")
    return fields


def _head(head: Mapping[str, str], trees: int, refuse: Refuse) -> tuple[list[str], int, int]:
    """The lines before the trees, how many features there are, and how many numbers come of a
    row.
    """
    if head.get("version") not in _VERSIONS:
        raise refuse(
            f"its version is {head.get('version', 'missing')[:40]!r}; known are "
            f"{', '.join(_VERSIONS)}"
        )
    classes, outputs, last = (
        _number(head, name, refuse)
        for name in ("num_class", "num_tree_per_iteration", "max_feature_idx")
    )
    label = _number(head, "label_index", refuse) if "label_index" in head else 0
    features = last + 1
    if outputs != classes or outputs < 1:
        raise refuse(
            f"num_tree_per_iteration is {outputs} and num_class {classes}; they are equal, and at "
            "least 1"
        )
    if not trees or trees % outputs:
        raise refuse(f"it has {trees} trees, which is not a multiple of num_class, {classes}")
    output = [
        "tree",
        f"version={head['version']}",
        f"num_class={classes}",
        f"num_tree_per_iteration={outputs}",
        f"label_index={label}",
    ]
    output.append(f"max_feature_idx={last}")
    if "objective" in head:
        output.append(f"objective={_objective(head['objective'], classes, refuse)}")
    if "average_output" in head:
        output.append("average_output")
    for name in ("feature_names", "feature_infos"):
        value = head.get(name, "")
        if not _PRINTED.fullmatch(value) or value.count(" ") + 1 != features:
            raise refuse(f"{name} does not have {features} names, as max_feature_idx={last} says")
        output.append(f"{name}={value}")
    if "monotone_constraints" in head:
        monotone = _integers(head, "monotone_constraints", features, -1, 1, refuse)
        output.append(f"monotone_constraints={_joined(monotone)}")
    return [*output, ""], features, outputs


def _objective(text: str, classes: int, refuse: Refuse) -> str:
    if not _PRINTED.fullmatch(text):
        raise refuse("its objective is not printed text")
    name, *rules = text.split(" ")
    if name in _CLASSES:
        if [rule for rule in rules if rule.startswith("num_class:")] != [f"num_class:{classes}"]:
            raise refuse(f"its objective is {text[:60]!r}, and num_class is {classes}")
    elif classes != 1:
        raise refuse(
            f"its objective is {text[:60]!r}, which gives one number a row, and num_class is "
            f"{classes}"
        )
    return text


def _trees(lines: Sequence[str], refuse: Refuse) -> list[dict[str, str]]:
    starts = [n for n, line in enumerate(lines) if line.startswith("Tree=")]
    for number, start in enumerate(starts):
        if lines[start] != f"Tree={number}":
            raise refuse(f"tree {number} is called {lines[start][:40]!r}")
    return [
        _fields(lines[start + 1 : stop], _at(n, refuse))
        for n, (start, stop) in enumerate(pairwise([*starts, len(lines)]))
    ]


def _tree(tree: Mapping[str, str], features: int, refuse: Refuse) -> list[str]:
    """A tree's lines: every child is a node or a leaf that is reached once from the first node,
    every feature one that there is.
    """
    leaves, cats = _number(tree, "num_leaves", refuse), _number(tree, "num_cat", refuse)
    if not 1 <= leaves <= _LEAVES:
        raise refuse(f"num_leaves is {leaves}; it is from 1 to {_LEAVES}")
    nodes = leaves - 1
    if not 0 <= cats <= nodes:
        raise refuse(f"num_cat is {cats}, and there are {nodes} splits")
    output = [f"num_leaves={leaves}", f"num_cat={cats}"]
    left, right = (
        _integers(tree, name, nodes, -leaves, nodes - 1, refuse)
        for name in ("left_child", "right_child")
    )
    split = _integers(tree, "split_feature", nodes, 0, features - 1, refuse)
    kinds = (
        _integers(tree, "decision_type", nodes, 0, 11, refuse)
        if "decision_type" in tree
        else [0] * nodes
    )
    _check_reached(left, right, leaves, refuse)
    thresholds = _floats(tree, "threshold", nodes, _ANY, refuse)
    for node, kind in enumerate(kinds):
        if kind & 1 and not (thresholds[node].isdecimal() and int(thresholds[node]) < cats):
            raise refuse(
                f"split {node} is by categories, and its threshold is {thresholds[node]}; there "
                f"are {cats} sets of categories"
            )
    for name, numbers in (
        ("split_feature", split),
        ("decision_type", kinds),
        ("left_child", left),
        ("right_child", right),
    ):
        output.append(f"{name}={_joined(numbers)}")
    output.append(f"threshold={' '.join(thresholds)}")
    output.append(f"leaf_value={' '.join(_floats(tree, 'leaf_value', leaves, _FINITE, refuse))}")
    for count, names in ((nodes, _NODE_FLOATS), (leaves, _LEAF_FLOATS)):
        output += [
            f"{name}={' '.join(_floats(tree, name, count, _ANY, refuse))}"
            for name in names
            if tree.get(name)
        ]
    for name, count in (("leaf_count", leaves), ("internal_count", nodes)):
        if tree.get(name):
            output.append(
                f"{name}={_joined(_integers(tree, name, count, -_INT32, _INT32, refuse))}"
            )
    if cats:
        output += _category_sets(tree, cats, refuse)
    output += _linear(tree, leaves, features, refuse)
    if "shrinkage" in tree:
        output.append(f"shrinkage={_floats(tree, 'shrinkage', 1, _FINITE, refuse)[0]}")
    return output


def _check_reached(left: Sequence[int], right: Sequence[int], leaves: int, refuse: Refuse) -> None:
    """Each node but the first, and each leaf, is the child of one node alone; and from the first
    node all are reached.
    """
    if len({*left, *right}) != len(left) + len(right) or 0 in {*left, *right}:
        raise refuse("a node or a leaf is the child of two nodes, or the first node is a child")
    reached, waiting = 0, [0] if left else []
    while waiting:
        node = waiting.pop()
        reached += 1
        waiting += [child for child in (left[node], right[node]) if child >= 0]
    if reached != leaves - 1:
        raise refuse(f"{leaves - 1 - reached} of its splits are not reached from the first one")


def _category_sets(tree: Mapping[str, str], cats: int, refuse: Refuse) -> list[str]:
    bounds = _integers(tree, "cat_boundaries", cats + 1, 0, _INT32, refuse)
    if bounds[0] != 0 or any(a > b for a, b in pairwise(bounds)):
        raise refuse("cat_boundaries does not rise from 0")
    bits = _integers(tree, "cat_threshold", bounds[-1], 0, 2**32 - 1, refuse)
    return [f"cat_boundaries={_joined(bounds)}", f"cat_threshold={_joined(bits)}"]


def _linear(tree: Mapping[str, str], leaves: int, features: int, refuse: Refuse) -> list[str]:
    """The linear models of leaves, where there are any; their lists stand one after another."""
    linear = _integers(tree, "is_linear", 1, 0, 1, refuse)[0] if "is_linear" in tree else 0
    if not linear:
        return ["is_linear=0"]
    counts = _integers(tree, "num_features", leaves, 0, features, refuse)
    joined = {
        name: " ".join(tree.get(name, "").split()) for name in ("leaf_features", "leaf_coeff")
    }
    used = _integers(joined, "leaf_features", sum(counts), 0, features - 1, refuse)
    weights = _floats(joined, "leaf_coeff", sum(counts), _FINITE, refuse)
    output = [
        "is_linear=1",
        f"leaf_const={' '.join(_floats(tree, 'leaf_const', leaves, _FINITE, refuse))}",
        f"num_features={_joined(counts)}",
    ]
    return [*output, f"leaf_features={_joined(used)}", f"leaf_coeff={' '.join(weights)}"]


def _number(fields: Mapping[str, str], name: str, refuse: Refuse) -> int:
    if name not in fields:
        raise refuse(f"there is no {name}")
    return _integers(fields, name, 1, -_INT32, _INT32, refuse)[0]


def _integers(
    fields: Mapping[str, str], name: str, count: int, least: int, most: int, refuse: Refuse
) -> list[int]:
    numbers = [int(text) for text in _tokens(fields, name, count, _INTEGERS, "an integer", refuse)]
    for number in (min(numbers, default=least), max(numbers, default=least)):
        if not least <= number <= most:
            raise refuse(f"{name} holds {number}; it is from {least} to {most}")
    return numbers


def _floats(
    fields: Mapping[str, str], name: str, count: int, form: re.Pattern[str], refuse: Refuse
) -> list[str]:
    return _tokens(
        fields, name, count, form, "a finite number" if form is _FINITE else "a number", refuse
    )


def _tokens(
    fields: Mapping[str, str],
    name: str,
    count: int,
    form: re.Pattern[str],
    kind: str,
    refuse: Refuse,
) -> list[str]:
    value = fields.get(name, "")
    if not form.fullmatch(value):
        raise refuse(f"{name} holds a value that is not {kind}{_first_wrong(value, form)}")
    tokens = value.split(" ") if value else []
    if len(tokens) != count:
        raise refuse(f"{name} has {len(tokens)} values, not {count}")
    return tokens


def _first_wrong(value: str, form: re.Pattern[str]) -> str:
    wrong = next(
        (token for token in value.split(" ") if not token or not form.fullmatch(token)), None
    )
    return "" if wrong is None else f": {wrong[:40]!r}"


def _joined(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def _categories(lines: Sequence[str], refuse: Refuse) -> list[list[object]] | None:
    """The categories of pandas' columns, where the model was trained on such."""
    category_line = next((line for line in lines if line.startswith("pandas_categorical:")), None)
    if category_line is None:
        return None
    try:
        value = json.loads(category_line.removeprefix("pandas_categorical:"))
    except (ValueError, RecursionError):
        raise refuse("pandas_categorical is not JSON") from None
    if value is not None and not (
        isinstance(value, list) and all(isinstance(categories, list) for categories in value)
    ):
        raise refuse("pandas_categorical is not a list of lists")
    return value
