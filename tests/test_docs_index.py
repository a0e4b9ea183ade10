"""Every page of the documentation is in the index, in the navigation and in llms.txt."""

import re
import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} | {"reference.md"}  # which `make docs` writes


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.md)\)", index)) == PAGES


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("nav:") : text.index("theme:")])["nav"]
    pages = re.findall(r"(\w+\.md)'", str(nav))
    assert set(pages) == PAGES | {"index.md"}
    assert len(pages) == len(PAGES) + 2  # decisions/index.md too


def test_the_index_for_language_models_is_that_of_its_script():
    script = runpy.run_path(str(ROOT / "scripts/llms_txt.py"))
    assert (ROOT / "docs/llms.txt").read_text(encoding="utf-8") == script["text"]()
