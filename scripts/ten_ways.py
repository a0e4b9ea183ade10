"""Draw the pictures of docs/ten_ways_to_fool_yourself.md from its own code: .venv/bin/python -m
scripts.ten_ways

Each block of code leaves a `result`, and `says` where the words are not those of the result's own
headline.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import headwater as hw
from headwater.pages import audit_words
from headwater.results.backtest_result import BacktestResult
from scripts.lift_picture import drawn

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ten_ways_to_fool_yourself.md"
LINE, CHARACTERS, LINES = 17, 96, 9


def blocks() -> list[str]:
    """The code of the page, the setup first."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def examples() -> Iterator[tuple[hw.evaluation.Backtest, Sequence[str]]]:
    """Run the blocks one after the other: the backtest of each, and its verdict."""
    names: dict[str, object] = {}
    for block in blocks():
        names.pop("says", None)
        exec(block, names)
        backtested = names["result"]
        assert isinstance(backtested, hw.evaluation.Backtest)
        says = names.get("says") or headline(backtested.result)
        assert isinstance(says, list)
        yield backtested, says


def headline(result: BacktestResult) -> list[str]:
    """The first sentence of the result's page, what withholds a verdict, and the first question
    that it asks.
    """
    asked = [
        *audit_words.conditions(result.audit),
        *(f"Question: {finding.message}" for finding in result.audit.further_questions),
    ]
    asked += [f"Question: {source.question}" for source in result.resolutions if source.question]
    return [result.verdict, *audit_words.blocking(result.audit), *asked[:1]]


def picture(result: BacktestResult, says: Sequence[str]) -> str:
    """The lift curve under the words, as one SVG file."""
    lines = [line for sentence in says for line in textwrap.wrap(sentence, CHARACTERS)]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], lines[LINES - 1] + " ..."]
    top = LINE * (len(lines) + 1)
    inner = drawn(result).replace("<svg ", f'<svg x="0" y="{top}" width="640" height="280" ', 1)
    text = "".join(
        f'<text x="8" y="{LINE * (n + 1)}">{escape(line)}</text>' for n, line in enumerate(lines)
    )
    style = "width:100%;max-width:640px;height:auto;font:13px system-ui,sans-serif"
    box = f'viewBox="0 0 640 {top + 280}" fill="#777" color="#777" role="img" style="{style}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{text}{inner.strip()}</svg>\n'


def main() -> None:
    """Write docs/ten_ways/00.svg and so on."""
    folder = PAGE.parent / "ten_ways"
    folder.mkdir(exist_ok=True)
    for number, (backtested, says) in enumerate(examples()):
        (folder / f"{number:02}.svg").write_text(picture(backtested.result, says), encoding="utf-8")
        print(f"{number:02}: {' '.join(says)}", flush=True)


if __name__ == "__main__":
    main()
