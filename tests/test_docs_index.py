"""Every page of the documentation is in the index, in the navigation and in llms.txt."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

from headwater.cli.command import Flag
from tests.cli.test_commands import commands

ROOT = Path(__file__).resolve().parents[1]
MADE = runpy.run_path(str(ROOT / "scripts/docs_reference.py"))  # pages that `make docs` writes
PAGES = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} | set(MADE["PAGES"])


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


def test_every_command_and_option_is_on_its_page():
    page = MADE["command_line"]()
    for words, command in commands():
        assert re.search(rf"^##+ headwater {words}$", page, re.MULTILINE), words
        missing = [
            param.flag
            for param in command.params
            if isinstance(param, Flag) and f"`{param.flag}" not in page
        ]
        assert missing in ([], ["--debug"]), words


def test_every_variable_is_on_its_page():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    page = MADE["configuration"]()
    assert [
        name
        for name in set(re.findall(r"HEADWATER_[A-Z]+(?:_[A-Z]+)*", source))
        if f"`{name}`" not in page
    ] == []


@pytest.mark.parametrize("error", MADE["error_classes"](), ids=lambda error: error.__name__)
def test_every_error_has_a_cause_and_a_remedy(error):
    (row,) = [
        line
        for line in MADE["error_page"]().splitlines()
        if line.startswith(f"| `{error.__name__}`")
    ]
    assert all(cell.strip() for cell in row.strip("|").split("|")), row


def test_search_works_from_the_disk_without_another_host():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "\n  - offline" in text
    (shims,) = re.findall(r"polyfills: \[(.*?)\]", text)
    assert "iframe-worker" in shims, (
        "without a shim of this name, `offline` loads one from another host"
    )
    assert all((ROOT / "docs" / shim).is_file() for shim in shims.split(", "))
