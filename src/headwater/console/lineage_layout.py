"""Where the definitions of a lineage stand in its picture: a column for each kind, and in it near
what feeds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.results.lineage_result import KINDS, Lineage, LineageNode

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 184, 46, 40, 12, 8
_LONGEST: Final = 23  # characters of a name in a box
_SWEEPS: Final = 4
_COLUMN: Final = {
    "source": 0,
    "third party": 0,
    "view": 1,
    "service": 2,
    "model": 3,
    "experiment": 4,
}


@dataclass(frozen=True)
class LineageBox:
    """A node of the picture, in pixels. label: its name, cut to fit."""

    node: LineageNode
    label: str
    detail: str
    x: int
    y: int


@dataclass(frozen=True)
class LineagePicture:
    """The picture. paths: of the edges, as SVG has them. boxes: column by column, so that the
    keyboard follows the data.
    """

    width: int
    height: int
    boxes: Sequence[LineageBox]
    paths: Sequence[str]
    box_width: int = _BOX_WIDTH
    box_height: int = _BOX_HEIGHT


def lineage_picture(lineage: Lineage) -> LineagePicture:
    """Lay out a lineage: each node right of all that feed it, in an order with few crossings
    (Sugiyama, Tagawa and Toda, 1981).

    >>> picture = lineage_picture(Lineage("p", [LineageNode("view v", "view", "v")], []))
    >>> [(box.x, box.y) for box in picture.boxes]
    [(8, 8)]
    """
    columns = _columns(lineage)
    used = sorted(set(columns.values()))
    by_column = [[node for node in lineage.nodes if columns[node.id] == column] for column in used]
    for column in by_column:
        column.sort(key=lambda node: (KINDS.index(node.kind), node.name))
    feeders: dict[str, list[str]] = {node.id: [] for node in lineage.nodes}
    fed: dict[str, list[str]] = {node.id: [] for node in lineage.nodes}
    for edge in lineage.edges:
        feeders[edge.end].append(edge.start)
        fed[edge.start].append(edge.end)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in by_column[1:] if forward else by_column[-2::-1]:
            _order(
                column,
                feeders if forward else fed,
                {node.id: n / len(column) for column in by_column for n, node in enumerate(column)},
            )
    tallest = max((len(column) for column in by_column), default=0)
    height = max(1, tallest) * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    boxes: dict[str, LineageBox] = {}
    for number, column in enumerate(by_column):
        top = (height - len(column) * (_BOX_HEIGHT + _GAP_Y) + _GAP_Y) // 2
        for n, node in enumerate(column):
            at = (_MARGIN + number * (_BOX_WIDTH + _GAP_X), top + n * (_BOX_HEIGHT + _GAP_Y))
            boxes[node.id] = LineageBox(node, _cut(node.name), _cut(_detail(node)), *at)
    paths = [_path(boxes[edge.start], boxes[edge.end]) for edge in lineage.edges]
    width = len(by_column) * (_BOX_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    return LineagePicture(max(width, 1), height, list(boxes.values()), paths)


def _columns(lineage: Lineage) -> Mapping[str, int]:
    """The column of each node: the column of its kind, and right of all its feeders."""
    columns = {node.id: _COLUMN[node.kind] for node in lineage.nodes}
    for _ in lineage.nodes:  # at most as many steps as a chain is long
        moved = False
        for edge in lineage.edges:
            if columns[edge.end] <= columns[edge.start]:
                columns[edge.end] = columns[edge.start] + 1
                moved = True
        if not moved:
            break
    return columns


def _order(
    column: list[LineageNode], neighbours: Mapping[str, Sequence[str]], places: Mapping[str, float]
) -> None:
    """Sort a column by the mean place of the neighbours."""

    def mean(node: LineageNode) -> float:
        near = neighbours[node.id]
        return sum(places[name] for name in near) / len(near) if near else places[node.id]

    column.sort(key=mean)


def _detail(node: LineageNode) -> str:
    if node.kind == "view":
        return f"view of {len(node.features)} feature{'' if len(node.features) == 1 else 's'}"
    return node.kind if node.kind != "model" else f"model, {node.detail}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _path(start: LineageBox, end: LineageBox) -> str:
    x1, y1, x2, y2 = (
        start.x + _BOX_WIDTH,
        start.y + _BOX_HEIGHT // 2,
        end.x,
        end.y + _BOX_HEIGHT // 2,
    )
    bend = (x2 - x1) // 2
    return f"M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}"
