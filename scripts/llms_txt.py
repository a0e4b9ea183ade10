"""Writes docs/llms.txt, an index of the documentation for language models, from docs/index.md:
`python scripts/llms_txt.py`.

The format is that of https://llmstxt.org: a title, a summary, and links with a description each.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
FILE = DOCS / "llms.txt"


def text() -> str:
    """The file: the first paragraphs of the index as the summary, then its links."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    paragraphs = [part.replace("\n", " ") for part in index.split("\n\n")[1:3]]
    links = re.findall(r"^- \[(.*?)\]\((.*?)\): (.*)$", index, re.MULTILINE)
    lines = [
        f"- [{title}]({path.replace('.md', '.html')}): {about.rstrip('.')}"
        for title, path, about in links
    ]
    return "\n".join(
        [
            "# headwater",
            "",
            *(f"> {paragraph}" for paragraph in paragraphs),
            "",
            "## Documentation",
            "",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}: {text().count('](')} pages\n")
