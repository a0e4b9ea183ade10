"""HTML that is safe by type: only `esc` makes `Html` out of a user's string."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)
"""A string that is already HTML."""

EMPTY = Html("")


def esc(text: str) -> Html:
    """A string as HTML that shows it.

    >>> esc("<script>")
    '&lt;script&gt;'
    """
    return Html(html.escape(text))


def join(parts: Iterable[Html], between: str = "\n") -> Html:
    """Join pieces of HTML; empty ones are dropped."""
    return Html(between.join(piece for piece in parts if piece))


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph of plain text; empty for an empty string."""
    return Html(f"<p{_class(kind)}>{esc(text)}</p>") if text else EMPTY


def bullets(lines: Iterable[str]) -> Html:
    """A list of plain sentences; empty if there are none."""
    items = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return Html(f"<ul>{items}</ul>") if items else EMPTY


def section(name: str, heading: str, *parts: Html) -> Html:
    """One section of the page under its heading, which also labels it for screen readers."""
    title = f'<h2 id="{name}-title">{esc(heading)}</h2>'
    return Html(f'<section id="{name}" aria-labelledby="{name}-title">\n{title}\n{join(parts)}\n</section>')


def card(heading: str, *parts: Html, wide: bool = False) -> Html:
    """A small box with its own heading."""
    return Html(f'<div class="card{" wide" if wide else ""}"><h3>{esc(heading)}</h3>{join(parts)}</div>')


def value_cell(value: str, bounds: str = "") -> Html:
    """A number with its interval below it, in small."""
    return Html(f"{esc(value)}<small>{esc(bounds)}</small>" if bounds else esc(value))


def grid(caption: str, headings: Sequence[Html], rows: Sequence[Sequence[Html]]) -> Html:
    """A table whose first cell in each row is its header; it scrolls on a narrow screen, also by keyboard."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "\n".join(f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows)
    # The caption stands outside the table, or it would scroll away with it.
    table = f'<table aria-label="{esc(caption)}"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return Html(
        f'<p class="caption">{esc(caption)}</p>\n<div class="scroll" tabindex="0" role="region" aria-label="{esc(caption)}">{table}</div>'
    )


def pairs(rows: Sequence[tuple[str, str]]) -> Html:
    """A definition list of terms."""
    items = "".join(f"<div><dt>{esc(term)}</dt><dd>{esc(what)}</dd></div>" for term, what in rows)
    return Html(f"<dl>{items}</dl>") if items else EMPTY


def figure(name: str, plot: dict[str, object], says: str, caption: str, fallback: Html = EMPTY) -> Html:
    """A plotly figure, drawn by the page's script in the colours of the reader's theme.

    `says` is the alternative text. `fallback` is shown until the script has run, and if scripts are disabled.
    """
    data = json.dumps(plot, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    instead = fallback or paragraph(says, "quiet")
    return Html(
        f'<figure class="plot-{name}"><div class="plot" id="plot-{name}" role="img" aria-label="{esc(says)}">{instead}</div>'
        f"<figcaption>{esc(caption)}</figcaption>"
        f'<script type="application/json" data-plot="plot-{name}">{data}</script></figure>'
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
