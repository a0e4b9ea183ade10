"""Every code block of the README and the documentation runs as it is written."""

import os
import re
import runpy

import pytest
import yaml

from headwater.cli.parser import parse
from scripts import ten_ways
from tests.docs.pages import ROOT, Runner, blocks, same

# from the code, whose tests run their examples
MADE = {"reference.md", "cli.md", "configuration.md", "errors.md", "changelog.md"}
ELSEWHERE = {ten_ways.PAGE.name}  # run by tests/examples/test_ten_ways.py
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in MADE),
]
SLOW = {
    "assess.md",
    "assistants.md",
    "catalog.md",
    "getting_started.md",
    "howto_ci.md",
    "howto_kafka.md",
    "howto_notebooks.md",
    "runs.md",
    "tutorial.md",
}  # pages of some seconds


def marked(path):
    return pytest.param(path, id=path.name, marks=[pytest.mark.slow] if path.name in SLOW else [])


RUN = [
    path
    for path in PAGES
    if path.name not in ELSEWHERE
    and any(block.runs for block in blocks(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("page", [marked(page) for page in RUN])
def test_blocks_run_as_they_are_written(page, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for block, printed in Runner(page, tmp_path.resolve()).run():
        assert same(block.text, printed), f"{page.name}:{block.line} printed\n{printed}"


def test_every_fence_is_a_block():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(blocks(text)), page.name


COMMAND = re.compile(r"headwater [a-z][^\n\"&|#`]*")


@pytest.mark.parametrize("name", ["howto_airflow.md"])
def test_files_of_a_page_that_does_not_run_are_valid(name):
    files = [
        block
        for block in blocks((ROOT / "docs" / name).read_text(encoding="utf-8"))
        if block.title is not None
    ]
    calls = []
    for file in files:
        if file.language == "python":
            compile(file.text, name, "exec")
            calls += [call.split()[1:] for call in COMMAND.findall(file.text)]
        else:
            found = re.findall(r"command: (\[headwater.*\])", file.text)
            assert len(list(yaml.safe_load_all(file.text))) == len(found)
            calls += [yaml.safe_load(call)[1:] for call in found]
    assert calls
    assert all(parse(call) is not None for call in calls)


def test_pictures_of_concepts_are_those_of_their_script():
    script = runpy.run_path(str(ROOT / "scripts/concept_pictures.py"))
    drawn = {f"{name}.svg": drawing().svg() for name, drawing in script["PICTURES"].items()}
    assert {
        path.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "docs/pictures").glob("*.svg")
    } == drawn
    assert set(
        re.findall(
            r"\(pictures/(\w+\.svg)\)", (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
        )
    ) == set(drawn)
