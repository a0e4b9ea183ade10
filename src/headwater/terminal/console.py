"""The console of rich as headwater uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from headwater.terminal.text import encodable

UNLIMITED: Final = 100_000  # columns without a terminal


class StreamConsole(Console):
    """A console that never hides the cursor, so that nothing has to bring it back, however the
    process ends.

    Where the stream is not a terminal, lines are as long as they are.
    """

    def __init__(self, file: TextIO, *, terminal: bool) -> None:
        super().__init__(
            file=file,
            width=None if terminal else UNLIMITED,
            highlight=False,
            markup=False,
            emoji=False,
        )
        if terminal and self.width < 2:  # a terminal that does not say how wide it is
            self.width = 80

    def show_cursor(self, show: bool = True) -> bool:  # noqa: FBT001, FBT002 (as rich calls it)
        """Nothing: the cursor is shown."""
        del show
        return False

    def write(self, *parts: RenderableType) -> None:
        """Print parts below each other: no line is cut, and none ends with spaces."""
        for part in parts:
            self.print(Trimmed(part), soft_wrap=True)


@dataclass(frozen=True)
class Trimmed:
    """The lines of a renderable without spaces at their ends, in the encoding of the console; its
    styles stay.
    """

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        whole = options.update(no_wrap=None, overflow="ignore")
        for line in Segment.split_lines(console.render(self.part, whole)):
            yield from _trimmed([_encoded(segment, options.encoding) for segment in line])
            yield Segment.line()


def _encoded(segment: Segment, encoding: str) -> Segment:
    return segment if segment.control else segment._replace(text=encodable(segment.text, encoding))


def _trimmed(line: Iterable[Segment]) -> list[Segment]:
    segments = list(line)
    while segments and not segments[-1].control:
        text = segments[-1].text.rstrip(" ")
        if text:
            segments[-1] = segments[-1]._replace(text=text)
            break
        segments.pop()
    return segments
