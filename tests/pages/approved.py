"""The approved form of each page, in the folder `forms`: as Markdown, and as a terminal of 80 columns
shows it.

`python -m tests.pages.approved` writes them again.
"""

import io
from pathlib import Path

from rich.console import Console

from headwater.pages import page_forms
from headwater.terminal.console import Trimmed
from tests.pages.samples import PAGES

FOLDER = Path(__file__).with_name("forms")


def forms(name):
    """By file name, what is shown."""
    page = PAGES[name]()
    file = io.StringIO()
    console = Console(width=80, file=file, force_terminal=False, color_system=None)
    console.print(Trimmed(page_forms.to_terminal(page)), soft_wrap=True)
    return {f"{name}.md": page_forms.to_markdown(page), f"{name}.txt": file.getvalue()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in PAGES:
        for name, text in forms(one).items():
            (FOLDER / name).write_text(text, encoding="utf-8")
